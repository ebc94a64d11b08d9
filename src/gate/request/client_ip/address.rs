//! One form for every address, and for the networks that they are compared with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub(super) fn parse_network(entry: &str) -> Option<IpNet> {
    let entry = entry.trim();
    let network = match entry.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(entry.parse::<IpAddr>().ok()?),
    };
    match network {
        IpNet::V6(v6) => canonical_network(v6),
        IpNet::V4(_) => Some(network),
    }
    .map(|network| network.trunc())
}

/// A network within one of the ranges that stand for IPv4 is one of IPv4 addresses.
fn canonical_network(network: Ipv6Net) -> Option<IpNet> {
    match network
        .prefix_len()
        .checked_sub(96)
        .zip(embedded_ipv4(network.addr()))
    {
        Some((prefix, ip)) => Ipv4Net::new(ip, prefix).ok().map(IpNet::V4),
        None => Some(IpNet::V6(network)),
    }
}

pub(super) fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => embedded_ipv4(v6).map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn embedded_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
        | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => {
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}
