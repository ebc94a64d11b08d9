//! Forms with parts, as far as the management API reads them.

use crate::dev::call::Call;

/// One part of a form.
pub(super) struct Part<'a> {
    pub(super) name: String,
    pub(super) content_type: Option<String>,
    pub(super) content: &'a [u8],
}

impl Part<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.content).ok()
    }
}

/// The parts of a request's body; `None` when it is no such form.
pub(super) fn parts<'a>(call: &Call, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let (essence, parameters) = call.header("content-type")?.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary").filter(|b| !b.is_empty())?;
    let delimiter = format!("--{boundary}").into_bytes();

    let start = find(body, &delimiter)? + delimiter.len();
    let mut rest = body.get(start..)?;
    let between = [b"\r\n", delimiter.as_slice()].concat();
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n")?;
        let end = find(rest, &between)?;
        parts.push(part(rest.get(..end)?)?);
        rest = rest.get(end + between.len()..)?;
    }
    Some(parts)
}

fn part(bytes: &[u8]) -> Option<Part<'_>> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let header = |name: &str| {
        head.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    Some(Part {
        name: parameter(header("content-disposition")?, "name")?,
        content_type: header("content-type").map(str::to_ascii_lowercase),
        content: bytes.get(end + 4..)?,
    })
}

fn parameter(parameters: &str, name: &str) -> Option<String> {
    parameters.split(';').find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        (found.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
