//! Takes a secret out of an answer: what was sent may be echoed, in whatever way it was escaped.

use std::borrow::Cow;
use std::cell::Cell;

use serde_json::Value;
use smallvec::SmallVec;
use zeroize::Zeroizing;

/// `text` without `secret`, and without any longer piece of it, be it written as it is or escaped
/// as in JSON, in a URL or in HTML.
///
/// In JSON, texts are looked at as they read, and the structure is left alone: what an answer
/// means must not depend on the secret that it answers.
pub(super) fn redact(text: &str, secret: &str) -> String {
    if secret.len() < SHORTEST_SECRET {
        return text.to_owned();
    }
    let Some(secret) = Secret::new(secret) else {
        return REDACTED.to_owned();
    };
    if serde_json::from_str::<Value>(text).is_err() {
        let redacted = secret.cut_from(text, PIECE).into_owned();
        return secret.of_what_was_searched(redacted);
    }
    let redacted = redact_strings(text, &secret);
    // A secret with quotes in it may be spread over several members.
    let redacted = secret.cut_from(&redacted, secret.text.len()).into_owned();
    secret.of_what_was_searched(redacted)
}

/// `json` with every string of it redacted, names of members among them.
fn redact_strings(json: &str, secret: &Secret) -> String {
    let mut redacted = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(start) = rest.find('"') {
        let end = start + string_length(&rest[start..]);
        let quoted = &rest[start..end];
        redacted.push_str(&rest[..start]);
        let read = serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_owned());
        match secret.cut_from(&read, PIECE) {
            Cow::Owned(text) => redacted.push_str(&Value::from(text).to_string()),
            Cow::Borrowed(_) => redacted.push_str(quoted),
        }
        rest = &rest[end..];
    }
    redacted + rest
}

/// How long the JSON string is with which `json` begins, quotes included.
fn string_length(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !is_escaped => return at + 1,
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    json.len()
}

/// A secret as it is searched for: without its backslashes. Every level of escaping changes their
/// number, so that none is looked for, and any number of them may stand before each byte. Erased
/// when dropped.
struct Secret {
    text: Zeroizing<Vec<u8>>,
    /// How much more may be compared.
    steps: Cell<u32>,
}

impl Secret {
    /// `None` if it is hardly anything but backslashes: there is nothing to search for.
    fn new(secret: &str) -> Option<Self> {
        // With room for all of it, so that growing leaves no copies behind.
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len()));
        text.extend(secret.bytes().filter(|byte| *byte != b'\\'));
        let steps = Cell::new(MOST_STEPS);
        (text.len() >= SHORTEST_SECRET).then_some(Self { text, steps })
    }

    /// What was redacted, or nothing of it: an answer that was made to take long is not searched to
    /// its end.
    fn of_what_was_searched(&self, redacted: String) -> String {
        match self.steps.get() {
            0 => REDACTED.to_owned(),
            _ => redacted,
        }
    }

    /// `text` without any piece of the secret that is at least `shortest` bytes long, or all of it.
    fn cut_from<'t>(&self, text: &'t str, shortest: usize) -> Cow<'t, str> {
        let shortest = shortest.min(self.text.len());
        let bytes = text.as_bytes();
        let mut left = Vec::new();
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && self.steps.get() > 0 {
            match self.longest_at(bytes, at, shortest) {
                Some(end) => {
                    left.extend_from_slice(&bytes[kept..at]);
                    left.extend_from_slice(REDACTED.as_bytes());
                    (at, kept) = (end, end);
                }
                // Every place of a run of backslashes reads the same.
                None if bytes[at] == b'\\' => at += backslashes(&bytes[at..]),
                None => at += 1,
            }
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        left.extend_from_slice(&bytes[kept..]);
        Cow::Owned(String::from_utf8_lossy(&left).into_owned())
    }

    /// Where the longest piece ends that begins at `at`, if it is long enough.
    fn longest_at(&self, text: &[u8], at: usize, shortest: usize) -> Option<usize> {
        let mut longest = (shortest - 1, None);
        for (byte, _) in readings(text, at) {
            for place in 0..self.text.len() {
                let piece = &self.text[place..];
                if piece.len() <= longest.0 {
                    break;
                }
                if piece[0] != byte {
                    continue;
                }
                let (length, end) = self.common_length(piece, text, at);
                if length > longest.0 {
                    longest = (length, Some(end));
                }
            }
        }
        longest.1
    }

    /// How much of the beginning of `piece` stands at `at`, and where that ends.
    fn common_length(&self, piece: &[u8], text: &[u8], at: usize) -> (usize, usize) {
        // A `%25` may be a percent sign, or three characters: all ways of reading are followed.
        let mut ends: SmallVec<[usize; 4]> = SmallVec::from_slice(&[at]);
        for (length, wanted) in piece.iter().enumerate() {
            let mut next = SmallVec::new();
            for end in &ends {
                let readings = readings(text, *end);
                let steps = u32::try_from(readings.len()).unwrap_or(u32::MAX);
                self.steps.set(self.steps.get().saturating_sub(steps));
                for (byte, end) in readings {
                    if byte == *wanted && !next.contains(&end) {
                        next.push(end);
                    }
                }
            }
            if next.is_empty() || self.steps.get() == 0 {
                return (length, ends.into_iter().max().unwrap_or(at));
            }
            ends = next;
        }
        (piece.len(), ends.into_iter().max().unwrap_or(at))
    }
}

/// What the next characters at `at` may stand for, and where each way of reading them ends. What
/// reads as a backslash is passed over.
fn readings(text: &[u8], at: usize) -> Readings {
    let mut readings = Readings::new();
    let (mut start, mut is_escaped) = (at, false);
    loop {
        let run = backslashes(&text[start..]);
        start += run;
        is_escaped |= run > 0;
        let Some((&raw, behind)) = text[start..].split_first() else {
            return readings;
        };
        let first = readings.len();
        readings.push((raw, start + 1));
        match raw {
            b'u' if is_escaped => readings.extend(hexadecimal(behind, 4)),
            b'x' if is_escaped => readings.extend(hexadecimal(behind, 2)),
            b'%' => percent(behind, &mut readings),
            b'&' => entity(behind, &mut readings),
            _ => {}
        }
        // Those of this round are told in characters behind the first.
        for (_, end) in &mut readings[first + 1..] {
            *end += start + 1;
        }
        match readings.last() {
            Some((b'\\', end)) if end - at < LONGEST_RUN => start = *end,
            _ => return readings,
        }
        is_escaped = true;
    }
}

fn backslashes(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == b'\\').count()
}

/// The byte with whose number `text` begins, in so many digits.
fn hexadecimal(text: &[u8], digits: usize) -> Option<(u8, usize)> {
    Some((number(text.get(..digits)?, 16)?, digits))
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    let mut number = 0_u32;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix)?;
        number = number.checked_mul(radix)?.checked_add(digit)?;
    }
    u8::try_from(number).ok()
}

/// Reads what stands behind a `%`: `41`, but also `2541`, where it was escaped twice.
fn percent(text: &[u8], readings: &mut Readings) {
    let mut at = 0;
    for _ in 0..MOST_LEVELS {
        let Some((byte, length)) = hexadecimal(&text[at..], 2) else {
            break;
        };
        at += length;
        readings.push((byte, at));
        if byte != b'%' {
            break;
        }
    }
}

/// Reads what stands behind a `&`: `lt;` or `#60;`, but also `amp;lt;`, where it was escaped twice.
fn entity(text: &[u8], readings: &mut Readings) {
    let mut at = 0;
    for _ in 0..MOST_LEVELS {
        let Some((byte, length)) = name(&text[at..]) else {
            break;
        };
        at += length;
        readings.push((byte, at));
        if byte != b'&' {
            break;
        }
    }
}

/// The byte and the length of `lt;`, `#60;` and so on.
fn name(text: &[u8]) -> Option<(u8, usize)> {
    let mut near = text.iter().take(LONGEST_NAME);
    let length = near.position(|byte| *byte == b';')?;
    let byte = match &text[..length] {
        b"amp" => b'&',
        b"apos" => b'\'',
        b"bsol" => b'\\',
        b"gt" => b'>',
        b"lt" => b'<',
        b"quot" => b'"',
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => return None,
    };
    Some((byte, length + 1))
}

/// Bytes, and where what reads as each of them ends.
type Readings = SmallVec<[(u8, usize); 4]>;

const REDACTED: &str = "[redacted]";
/// Anything shorter is no key, and may be an ordinary word.
const SHORTEST_SECRET: usize = 8;
/// How long a piece of a secret is, in bytes, that is no ordinary word by chance.
const PIECE: usize = 12;
/// How far escaped backslashes are passed over, so that no answer costs more than a moment.
const LONGEST_RUN: usize = 1024;
/// How often a text may have been escaped, one way over the other.
const MOST_LEVELS: usize = 8;
/// How many bytes are compared, some milliseconds: the resource that a caller asks for and the front of
/// its key may be made to be compared in more ways than an answer has bytes.
const MOST_STEPS: u32 = 2_000_000;
/// More than any of those that are known.
const LONGEST_NAME: usize = 12;
