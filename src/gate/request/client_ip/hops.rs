//! The walk over the hops that proxies have written down, from the nearest.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::gate::request::client_ip::forwarded::{Elements, forwarded_for};
use crate::gate::request::client_ip::node::parse_node;

/// How many hops are looked at, counted from the nearest. No real chain of proxies is as long.
pub(super) const MAX_HOPS: usize = 64;
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The walk: from the peer over the hops, nearest first, as far as trust reaches.
pub(super) fn caller(
    peer: IpAddr,
    hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut last = peer;
    for hop in hops.take(MAX_HOPS) {
        if !trusted.iter().any(|network| network.contains(&last)) {
            break;
        }
        match hop {
            Some(hop) => last = hop,
            None => break,
        }
    }
    last
}

/// The hops of all lines, nearest first; `None` is one that names no address.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    // On bytes: one stray byte far left must not hide what a proxy has appended to the line.
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(parse_node)
}

pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED).iter().rev();
    lines
        .flat_map(|line| Elements(Some(line.as_bytes())))
        .map(forwarded_for)
}
