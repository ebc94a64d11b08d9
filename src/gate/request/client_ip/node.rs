//! An address as proxies write it.

use std::net::IpAddr;

use crate::gate::request::client_ip::address::canonical;

/// An address as proxies write it: bare, or with a port, in brackets, with a zone.
pub(super) fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node.trim_ascii()).ok()?;
    if let Some(bracketed) = node.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']')?;
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return None;
        }
        return parse_ipv6(ip);
    }
    match node.split_once(':') {
        None => node.parse().ok().map(IpAddr::V4),
        Some((ip, port)) if !port.contains(':') => {
            is_port(port).then(|| ip.parse().ok().map(IpAddr::V4))?
        }
        Some(_) => parse_ipv6(node),
    }
}

fn parse_ipv6(ip: &str) -> Option<IpAddr> {
    let ip = match ip.split_once('%') {
        Some((_, "")) => return None,
        Some((ip, _zone)) => ip,
        None => ip,
    };
    ip.parse().ok().map(|ip| canonical(IpAddr::V6(ip)))
}

/// A port number, or an obfuscated one of RFC 7239, section 6.3.
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(hidden) => {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !hidden.is_empty() && hidden.bytes().all(allowed)
        }
        None => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    }
}
