//! The header `Forwarded` of RFC 7239.

use std::net::IpAddr;

use crate::gate::request::client_ip::node::parse_node;

/// The longest address of a hop, in bytes, once unquoted: IPv6 with zone, brackets and port.
pub(super) const MAX_NODE: usize = 80;

/// The elements of one `Forwarded` line, last first.
///
/// It is read from its end because the end is what the nearest proxy wrote. Read from the start,
/// a quote that a caller opens and leaves open would swallow it.
pub(super) struct Elements<'h>(pub(super) Option<&'h [u8]>);

impl<'h> Iterator for Elements<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let line = self.0.take()?;
        let mut quoted = false;
        for (at, byte) in line.iter().enumerate().rev() {
            match byte {
                b'"' if !(quoted && is_escaped(line, at)) => quoted = !quoted,
                b',' if !quoted => {
                    let (rest, element) = line.split_at_checked(at)?;
                    self.0 = Some(rest);
                    return element.get(1..);
                }
                _ => {}
            }
        }
        Some(line)
    }
}

/// Whether an odd number of backslashes stands before the byte.
fn is_escaped(line: &[u8], at: usize) -> bool {
    let before = line.get(..at).unwrap_or_default();
    before
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
        % 2
        == 1
}

/// The address in an element's only `for`, if the whole element can be read.
pub(super) fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut rest = element.trim_ascii();
    let mut address = None;
    while !rest.is_empty() {
        if let [b';', after @ ..] = rest {
            rest = after.trim_ascii_start();
            continue;
        }
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (name, value) = rest.split_at_checked(equals)?;
        let (node, after) = Node::read(value.get(1..)?)?;
        if name.eq_ignore_ascii_case(b"for") && address.replace(node).is_some() {
            return None;
        }
        rest = after.trim_ascii_start();
        if !matches!(rest, [] | [b';', ..]) {
            return None;
        }
    }
    parse_node(address?.as_bytes())
}

/// The value of a `Forwarded` pair, unquoted. Kept only as long as an address can be.
struct Node {
    bytes: [u8; MAX_NODE],
    len: usize,
}

impl Node {
    /// Reads a token or a quoted string, and returns what follows.
    fn read(value: &[u8]) -> Option<(Self, &[u8])> {
        let mut node = Self {
            bytes: [0; MAX_NODE],
            len: 0,
        };
        let [b'"', quoted @ ..] = value else {
            // More than a token of RFC 9110: unquoted ports and brackets are common.
            let ends = |byte: &u8| matches!(byte, b';' | b'"' | b'\\' | b' ' | b'\t');
            let (token, after) =
                value.split_at_checked(value.iter().position(ends).unwrap_or(value.len()))?;
            token.iter().for_each(|byte| node.push(*byte));
            return Some((node, after));
        };
        let mut rest = quoted;
        loop {
            match rest {
                [b'"', after @ ..] => return Some((node, after)),
                [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                    node.push(*byte);
                    rest = after;
                }
                [] => return None,
            }
        }
    }

    fn push(&mut self, byte: u8) {
        // Counting on past the end: a value that is too long for an address must not be one.
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
