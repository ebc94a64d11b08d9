use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{Extensions, HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::ClientIp;
use super::address::canonical;
use super::forwarded::{Elements, MAX_NODE, forwarded_for};
use super::hops::{MAX_HOPS, X_FORWARDED_FOR};
use super::node::parse_node;
use crate::gate::request::peer::{ClientAddr, PeerAddr};

const PEER: &str = "10.0.0.1";
const XFF: &str = "x-forwarded-for";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// With a port where there is a zone, which only a socket's address has.
fn peer_address(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|_| SocketAddr::new(ip(text), 4711))
}

fn proxies() -> ClientIp {
    ClientIp::trusted_proxies(["10.0.0.0/8", "2001:db8:aaaa::/48", "192.0.2.1"]).unwrap()
}

fn resolve(client_ip: &ClientIp, peer: &str, lines: &[(&'static str, &[u8])]) -> IpAddr {
    let mut extensions = Extensions::new();
    extensions.insert(PeerAddr(peer_address(peer)));
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    client_ip.resolve(&headers, &mut extensions).unwrap()
}

/// A peer, the lines of the header, nearest last, and the caller they make.
type Case = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
);

/// Outside of every trusted network.
const STRANGER: &str = "198.51.100.1";
const CALLER: &str = "203.0.113.9";

// One case, one line.
#[rustfmt::skip]
const X_FORWARDED_FOR_CASES: &[Case] = &[
    // Who the peer is.
    ("no header: the peer", PEER, &[], PEER),
    ("a trusted peer names the caller", PEER, &[CALLER], CALLER),
    ("a stranger is itself", STRANGER, &["6.6.6.6"], STRANGER),
    ("a stranger is itself, many lines", STRANGER, &["6.6.6.6", "10.0.0.2"], STRANGER),
    ("one past the trusted network", "11.0.0.0", &["6.6.6.6"], "11.0.0.0"),
    ("the network's last address", "10.255.255.255", &[CALLER], CALLER),
    ("a trusted single address", "192.0.2.1", &[CALLER], CALLER),
    ("beside the single address", "192.0.2.2", &[CALLER], "192.0.2.2"),
    ("a trusted IPv6 peer", "2001:db8:aaaa::1", &[CALLER], CALLER),
    ("an IPv6 stranger", "2001:db8:aaab::1", &[CALLER], "2001:db8:aaab::1"),
    ("a trusted IPv4-mapped peer", "::ffff:10.0.0.1", &[CALLER], CALLER),
    ("an IPv4-mapped stranger", "::ffff:198.51.100.1", &["6.6.6.6"], STRANGER),
    ("a trusted NAT64 peer", "64:ff9b::10.0.0.1", &[CALLER], CALLER),
    ("a NAT64 stranger", "64:ff9b::198.51.100.1", &["6.6.6.6"], STRANGER),
    ("a local NAT64 prefix is IPv6", "64:ff9b:1::10.0.0.1", &["6.6.6.6"], "64:ff9b:1::10.0.0.1"),
    ("an IPv4-compatible peer is IPv6", "::10.0.0.1", &["6.6.6.6"], "::10.0.0.1"),
    ("a 6to4 peer is IPv6", "2002:a00:1::1", &["6.6.6.6"], "2002:a00:1::1"),
    ("a peer with a zone", "[fe80::9%3]:4711", &["6.6.6.6"], "fe80::9"),
    ("a trusted peer with a zone", "[2001:db8:aaaa::1%3]:4711", &[CALLER], CALLER),
    // Which hop it is.
    ("further left is hearsay", PEER, &["6.6.6.6, 203.0.113.9"], CALLER),
    ("further up is hearsay", PEER, &["6.6.6.6", "203.0.113.9"], CALLER),
    ("a hop in a line of its own", PEER, &["6.6.6.6", "203.0.113.9", "10.0.0.2"], CALLER),
    ("several trusted hops", PEER, &["6.6.6.6, 203.0.113.9, 10.9.9.9, 10.0.0.2"], CALLER),
    ("hops over several lines", PEER, &["6.6.6.6, 203.0.113.9", "192.0.2.1, 10.0.0.2"], CALLER),
    ("blanks and tabs around hops", PEER, &["6.6.6.6,203.0.113.9 ,\t10.9.9.9 , 10.0.0.2\t"], CALLER),
    ("the same hop twice", PEER, &["6.6.6.6, 203.0.113.9, 203.0.113.9"], CALLER),
    ("a loop through the peer", PEER, &["6.6.6.6, 203.0.113.9, 10.0.0.1, 10.0.0.1"], CALLER),
    ("a proxy that is not trusted", PEER, &["203.0.113.9, 192.0.2.2"], "192.0.2.2"),
    ("all trusted: the leftmost", PEER, &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ("all trusted over lines", PEER, &["10.0.0.4", "10.0.0.3, 10.0.0.2"], "10.0.0.4"),
    ("a trusted IPv6 hop", PEER, &["203.0.113.9, 2001:db8:aaaa::1"], CALLER),
    ("an IPv6 hop not trusted", PEER, &["203.0.113.9, 2001:db8:aaab::1"], "2001:db8:aaab::1"),
    ("a trusted IPv4-mapped hop", PEER, &["203.0.113.9, ::ffff:10.0.0.2"], CALLER),
    ("a trusted NAT64 hop with port", PEER, &["203.0.113.9, [64:ff9b::10.0.0.3]:1"], CALLER),
    // Where the walk ends.
    ("unknown at the right", PEER, &["203.0.113.9, unknown"], PEER),
    ("unknown after a hop", PEER, &["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
    ("unknown further left", PEER, &["unknown, 203.0.113.9"], CALLER),
    ("an obfuscated hop", PEER, &["203.0.113.9, _hidden, 10.0.0.2"], "10.0.0.2"),
    ("an obfuscated hop at the right", PEER, &["203.0.113.9, _SEVKISEK"], PEER),
    ("a hop by name", PEER, &["203.0.113.9, proxy.example"], PEER),
    ("an empty element", PEER, &["203.0.113.9,, 10.0.0.2"], "10.0.0.2"),
    ("an empty element at the right", PEER, &["203.0.113.9,"], PEER),
    ("an empty element at the left", PEER, &[", 203.0.113.9"], CALLER),
    ("an empty last line", PEER, &["203.0.113.9", ""], PEER),
    ("an empty first line", PEER, &["", "203.0.113.9"], CALLER),
    ("nothing but commas", PEER, &[",,,"], PEER),
    ("nothing but blanks", PEER, &["  \t "], PEER),
    // How an address may be written.
    ("IPv4 with a port", PEER, &["203.0.113.9:8080"], CALLER),
    ("IPv4 with an obfuscated port", PEER, &["203.0.113.9:_x.y-z"], CALLER),
    ("a port out of range", PEER, &["203.0.113.9:65536"], PEER),
    ("an empty port", PEER, &["203.0.113.9:"], PEER),
    ("a port with a sign", PEER, &["203.0.113.9:+80"], PEER),
    ("leading zeros", PEER, &["203.0.113.009"], PEER),
    ("octal", PEER, &["0313.0.0161.011"], PEER),
    ("hexadecimal", PEER, &["0xcb007109"], PEER),
    ("a number", PEER, &["3405803785"], PEER),
    ("three parts", PEER, &["203.0.113"], PEER),
    ("five parts", PEER, &["203.0.113.9.1"], PEER),
    ("a network", PEER, &["203.0.113.9/32"], PEER),
    ("IPv4 in brackets", PEER, &["[203.0.113.9]"], PEER),
    ("IPv4 in quotes", PEER, &["\"203.0.113.9\""], PEER),
    ("IPv4 with a zone", PEER, &["203.0.113.9%eth0"], PEER),
    ("an element of Forwarded", PEER, &["for=203.0.113.9"], PEER),
    ("two addresses and no comma", PEER, &["6.6.6.6 203.0.113.9"], PEER),
    ("bare IPv6", PEER, &["2001:db8::9"], "2001:db8::9"),
    ("IPv6 written at length", PEER, &["2001:DB8:0:0::9"], "2001:db8::9"),
    ("IPv6 in brackets", PEER, &["[2001:db8::9]"], "2001:db8::9"),
    ("IPv6 with a port", PEER, &["[2001:db8::9]:443"], "2001:db8::9"),
    ("IPv6 with a port and no colon", PEER, &["[2001:db8::9]443"], PEER),
    ("IPv6 with an empty port", PEER, &["[2001:db8::9]:"], PEER),
    ("brackets left open", PEER, &["[2001:db8::9"], PEER),
    ("brackets never opened", PEER, &["2001:db8::9]"], PEER),
    ("brackets twice", PEER, &["[[2001:db8::9]]"], PEER),
    ("empty brackets", PEER, &["[]"], PEER),
    ("IPv6 with a zone", PEER, &["fe80::9%eth0"], "fe80::9"),
    ("IPv6 with zone and port", PEER, &["[fe80::9%25eth0]:443"], "fe80::9"),
    ("an empty zone", PEER, &["fe80::9%"], PEER),
    ("a zone with brackets in it", PEER, &["[fe80::9%a]b]"], PEER),
    ("an IPv4-mapped caller", PEER, &["::ffff:203.0.113.9"], CALLER),
    ("an IPv4-mapped caller in hex", PEER, &["[::ffff:cb00:7109]:80"], CALLER),
    ("a NAT64 caller", PEER, &["64:ff9b::203.0.113.9"], CALLER),
    ("a NAT64 caller with a zone", PEER, &["[64:ff9b::cb00:7109%0]"], CALLER),
    ("an IPv4-mapped trusted address is no caller", PEER, &["6.6.6.6, ::ffff:a00:2"], "6.6.6.6"),
];

// One case, one line.
#[rustfmt::skip]
const FORWARDED_CASES: &[Case] = &[
    ("no header: the peer", PEER, &[], PEER),
    ("a trusted peer names the caller", PEER, &["for=203.0.113.9"], CALLER),
    ("a stranger is itself", STRANGER, &["for=6.6.6.6"], STRANGER),
    ("a trusted NAT64 peer", "64:ff9b::a00:1", &["for=203.0.113.9"], CALLER),
    ("names in any case", PEER, &["FoR=203.0.113.9;proto=http;By=10.0.0.1"], CALLER),
    ("quoted, with a port", PEER, &["proto=https; for=\"203.0.113.9:80\""], CALLER),
    ("commas in quotes", PEER, &["for=203.0.113.9;host=\"a,b;for=6.6.6.6\""], CALLER),
    ("several elements", PEER, &["for=6.6.6.6, for=203.0.113.9", "for=10.0.0.2"], CALLER),
    ("several lines", PEER, &["for=6.6.6.6", "for=203.0.113.9", "for=10.0.0.2"], CALLER),
    ("quoted IPv6 with a port", PEER, &["for=\"[2001:db8::9]:443\""], "2001:db8::9"),
    ("an obfuscated port", PEER, &["for=\"[2001:db8::9]:_port\""], "2001:db8::9"),
    ("IPv6 without quotes", PEER, &["for=[2001:db8::9]:443"], "2001:db8::9"),
    ("IPv6 without brackets", PEER, &["for=\"2001:db8::9\""], "2001:db8::9"),
    ("a port without quotes", PEER, &["for=203.0.113.9:80"], CALLER),
    ("a zone", PEER, &["for=\"[fe80::9%eth0]\""], "fe80::9"),
    ("an IPv4-mapped hop", PEER, &["for=203.0.113.9, for=\"[::ffff:10.0.0.2]\""], CALLER),
    ("an IPv4-mapped caller", PEER, &["for=\"[::ffff:203.0.113.9]\""], CALLER),
    ("a NAT64 hop and caller", PEER, &["for=\"[64:ff9b::cb00:7109]\", for=\"[64:ff9b::a00:2]:1\""], CALLER),
    ("escapes in quotes", PEER, &["for=\"203\\.0.113.\\9\""], CALLER),
    ("empty pairs", PEER, &[";for=203.0.113.9;;"], CALLER),
    ("blanks around pairs", PEER, &[" for=203.0.113.9 ; proto=http ,\tfor=10.0.0.2 "], CALLER),
    ("unknown", PEER, &["for=203.0.113.9, for=unknown, for=10.0.0.2"], "10.0.0.2"),
    ("obfuscated", PEER, &["for=203.0.113.9, for=\"_hidden\", for=10.0.0.2"], "10.0.0.2"),
    ("an element without for", PEER, &["for=203.0.113.9, proto=https"], PEER),
    ("an empty element", PEER, &["for=203.0.113.9, , for=10.0.0.2"], "10.0.0.2"),
    ("an empty element at the right", PEER, &["for=203.0.113.9,"], PEER),
    ("an empty last line", PEER, &["for=203.0.113.9", ""], PEER),
    ("for twice", PEER, &["for=203.0.113.9;for=203.0.113.9"], PEER),
    ("pairs without a semicolon", PEER, &["for=203.0.113.9 proto=http"], PEER),
    ("blanks around the equals sign", PEER, &["for = 203.0.113.9"], PEER),
    ("a quote left open", PEER, &["for=\"203.0.113.9"], PEER),
    ("a quote never opened", PEER, &["for=203.0.113.9\""], PEER),
    ("a name alone", PEER, &["for"], PEER),
    ("an empty value", PEER, &["for="], PEER),
    ("an empty quoted value", PEER, &["for=\"\""], PEER),
    ("an element of X-Forwarded-For", PEER, &["203.0.113.9"], PEER),
    // What a caller leaves open does not swallow what the proxy appends.
    ("an open quote further left", PEER, &["for=\"6.6.6.6, for=203.0.113.9"], CALLER),
    ("an open quote before a quoted hop", PEER, &["for=\"6.6.6.6, for=\"[2001:db8::9]\""], "2001:db8::9"),
    ("a backslash before the comma", PEER, &["for=\"6.6.6.6\\, for=203.0.113.9;host=\"x\\\"y\\\\\""], CALLER),
];

#[track_caller]
fn assert_cases(client_ip: &ClientIp, header: &'static str, cases: &[Case]) {
    for (name, peer, lines, caller) in cases {
        let lines: Vec<_> = lines.iter().map(|line| (header, line.as_bytes())).collect();
        assert_eq!(
            resolve(client_ip, peer, &lines),
            ip(caller),
            "{header}: {name}"
        );
        let alike = cases.iter().filter(|(other, ..)| other == name).count();
        assert_eq!(alike, 1, "{header}: {name} is the name of several cases");
    }
}

#[test]
fn the_caller_is_the_rightmost_address_that_is_not_trusted() {
    assert_cases(&proxies(), XFF, X_FORWARDED_FOR_CASES);
}

#[test]
fn forwarded_is_read_by_the_same_rules() {
    assert_cases(&proxies().forwarded(), "forwarded", FORWARDED_CASES);
}

#[test]
fn without_trusted_proxies_every_case_is_about_its_peer() {
    for (name, peer, lines, _) in X_FORWARDED_FOR_CASES {
        let lines: Vec<_> = lines.iter().map(|line| (XFF, line.as_bytes())).collect();
        let itself = canonical(peer_address(peer).ip());
        for client_ip in [
            ClientIp::peer(),
            ClientIp::trusted_proxies([""; 0]).unwrap(),
        ] {
            assert_eq!(resolve(&client_ip, peer, &lines), itself, "{name}");
        }
    }
}

#[test]
fn a_value_too_long_for_an_address_is_none() {
    let zone = "z".repeat(MAX_NODE);
    let line = format!("for=\"[fe80::9%{zone}]\"");
    assert_eq!(
        resolve(
            &proxies().forwarded(),
            PEER,
            &[("forwarded", line.as_bytes())]
        ),
        ip(PEER)
    );
}

#[test]
fn only_the_configured_header_is_read() {
    let lines: &[(&str, &[u8])] = &[
        (XFF, b"203.0.113.1"),
        ("forwarded", b"for=203.0.113.2"),
        ("x-real-ip", b"6.6.6.6"),
    ];
    assert_eq!(resolve(&proxies(), PEER, lines), ip("203.0.113.1"));
    assert_eq!(
        resolve(&proxies().forwarded(), PEER, lines),
        ip("203.0.113.2")
    );
    assert_eq!(resolve(&ClientIp::peer(), PEER, lines), ip(PEER));
    assert_eq!(
        resolve(&ClientIp::default().forwarded(), PEER, lines),
        ip(PEER)
    );
}

#[test]
fn a_peer_that_is_not_trusted_cannot_choose_its_address() {
    let lines: &[(&str, &[u8])] = &[(XFF, b"6.6.6.6"), ("forwarded", b"for=6.6.6.6")];
    for client_ip in [proxies(), proxies().forwarded()] {
        assert_eq!(resolve(&client_ip, "203.0.113.9", lines), ip("203.0.113.9"));
        assert_eq!(resolve(&client_ip, "11.0.0.1", lines), ip("11.0.0.1"));
    }
}

#[test]
fn a_peer_is_made_canonical_before_it_is_trusted() {
    let lines: &[(&str, &[u8])] = &[(XFF, b"203.0.113.9")];
    assert_eq!(
        resolve(&proxies(), "::ffff:10.0.0.1", lines),
        ip("203.0.113.9")
    );
    assert_eq!(
        resolve(&proxies(), "::ffff:11.0.0.1", lines),
        ip("11.0.0.1")
    );
    assert_eq!(
        resolve(&ClientIp::peer(), "64:ff9b::102:304", lines),
        ip("1.2.3.4")
    );
}

#[test]
fn networks_that_stand_for_ipv4_are_ipv4() {
    for network in [
        "::ffff:10.0.0.0/104",
        "64:ff9b::a00:0/104",
        " 10.0.0.1/8 ",
        PEER,
    ] {
        let client_ip = ClientIp::trusted_proxies([network]).unwrap();
        assert_eq!(
            resolve(&client_ip, PEER, &[(XFF, b"203.0.113.9")]),
            ip("203.0.113.9")
        );
    }
    let all_of_ipv6 = ClientIp::trusted_proxies(["::/0"]).unwrap();
    assert_eq!(
        resolve(&all_of_ipv6, PEER, &[(XFF, b"203.0.113.9")]),
        ip(PEER)
    );
}

#[test]
fn a_stray_byte_far_left_hides_nothing() {
    let line = b"\xff\xfe, 203.0.113.9";
    assert_eq!(resolve(&proxies(), PEER, &[(XFF, line)]), ip("203.0.113.9"));
    assert_eq!(
        resolve(&proxies(), PEER, &[(XFF, b"203.0.113.9, \xff")]),
        ip(PEER)
    );
}

#[test]
fn the_walk_is_bounded() {
    let hops = |count: usize| vec!["10.0.0.2"; count].join(", ");
    let within = format!("203.0.113.9, {}", hops(MAX_HOPS - 1));
    assert_eq!(
        resolve(&proxies(), PEER, &[(XFF, within.as_bytes())]),
        ip("203.0.113.9")
    );
    let beyond = format!("203.0.113.9, {}", hops(MAX_HOPS));
    assert_eq!(
        resolve(&proxies(), PEER, &[(XFF, beyond.as_bytes())]),
        ip("10.0.0.2")
    );
}

#[test]
fn an_entry_that_is_no_network_is_named() {
    for bad in [
        "",
        "10.0.0.0/33",
        "10.0.0",
        "localhost",
        "10.0.0.1:80",
        "[::1]",
    ] {
        let error = ClientIp::trusted_proxies(["10.0.0.0/8", bad]).unwrap_err();
        assert_eq!((error.index(), error.entry()), (1, bad));
        assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
    }
}

#[test]
fn the_extension_is_the_only_source_when_chosen() {
    let client_ip = ClientIp::from_extension();
    let mut extensions = Extensions::new();
    extensions.insert(PeerAddr(SocketAddr::new(ip(PEER), 1)));
    assert_eq!(client_ip.resolve(&HeaderMap::new(), &mut extensions), None);
    extensions.insert(ClientAddr(ip("::ffff:203.0.113.9")));
    let resolved = client_ip.resolve(&HeaderMap::new(), &mut extensions);
    assert_eq!(resolved, Some(ip("203.0.113.9")));
}

#[test]
fn without_a_peer_there_is_no_address() {
    let mut headers = HeaderMap::new();
    headers.append(XFF, HeaderValue::from_static("203.0.113.9"));
    for client_ip in [ClientIp::peer(), proxies()] {
        assert_eq!(client_ip.resolve(&headers, &mut Extensions::new()), None);
    }
}

#[test]
fn ipv6_callers_count_by_their_prefix() {
    let caller = ip("2001:db8:1:2:3:4:5:6");
    let cases = [
        (64, "2001:db8:1:2::"),
        (56, "2001:db8:1::"),
        (128, "2001:db8:1:2:3:4:5:6"),
        (200, "2001:db8:1:2:3:4:5:6"),
        (1, "::"),
        (0, "::"),
    ];
    for (bits, expected) in cases {
        assert_eq!(
            ClientIp::peer().ipv6_prefix(bits).subject(caller),
            ip(expected),
            "{bits}"
        );
    }
    assert_eq!(
        ClientIp::peer().ipv6_prefix(0).subject(ip("8000::1")),
        ip("8000::")
    );
    assert_eq!(ClientIp::peer().subject(caller), ip("2001:db8:1:2::"));
    assert_eq!(
        ClientIp::peer().subject(ip("203.0.113.9")),
        ip("203.0.113.9")
    );
    assert_eq!(
        ClientIp::peer().subject(ip("::ffff:203.0.113.9")),
        ip("203.0.113.9")
    );
}

/// Whatever an HTTP server lets through as a header's value.
fn hostile_line() -> impl Strategy<Value = Vec<u8>> {
    let shaped = r#"((for|by|FOR)?[=;,"\\\[\]:%_\t 0-9a-f.]{0,12}){0,8}"#;
    let bytes = prop_oneof![any::<Vec<u8>>(), shaped.prop_map(String::into_bytes)];
    bytes.prop_map(|mut bytes| {
        bytes.retain(|byte| *byte == b'\t' || !byte.is_ascii_control());
        bytes
    })
}

/// The headers of a request with these lines in both fields.
fn headers_of(x_forwarded_for: &[Vec<u8>], forwarded: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, lines) in [(X_FORWARDED_FOR, x_forwarded_for), (FORWARDED, forwarded)] {
        for line in lines {
            headers.append(&name, HeaderValue::from_bytes(line).unwrap());
        }
    }
    headers
}

/// Any address of the trusted network 10.0.0.0/8, in any of its three forms.
fn trusted_hop() -> impl Strategy<Value = IpAddr> {
    (any::<[u8; 3]>(), 0..3).prop_map(|([b, c, d], form)| {
        let ip = Ipv4Addr::new(10, b, c, d);
        match form {
            0 => IpAddr::V4(ip),
            1 => IpAddr::V6(ip.to_ipv6_mapped()),
            _ => IpAddr::V6(Ipv6Addr::from_bits(
                (0x64_ff9b << 96) | u128::from(ip.to_bits()),
            )),
        }
    })
}

/// What each proxy on the way does to the header: appends whom it was called by, to the last line
/// or as a line of its own.
fn append(lines: &mut Vec<Vec<u8>>, element: &str, own_line: bool) {
    match lines.last_mut() {
        Some(last) if !own_line => {
            last.extend_from_slice(b", ");
            last.extend_from_slice(element.as_bytes());
        }
        _ => lines.push(element.into()),
    }
}

proptest! {
    #[test]
    fn no_header_changes_the_address_of_an_untrusted_peer(
        peer: IpAddr,
        lines in prop::collection::vec(hostile_line(), 0..4),
    ) {
        let headers = headers_of(&lines, &lines);
        let nobody_here = ClientIp::trusted_proxies(["192.0.2.1"]).unwrap();
        prop_assume!(canonical(peer) != ip("192.0.2.1"));
        for client_ip in [nobody_here.clone(), nobody_here.forwarded(), ClientIp::peer()] {
            let mut extensions = Extensions::new();
            extensions.insert(PeerAddr(SocketAddr::new(peer, 1)));
            let resolved = client_ip.resolve(&headers, &mut extensions);
            prop_assert_eq!(resolved, Some(canonical(peer)));
        }
    }

    #[test]
    fn nothing_a_caller_sends_changes_what_the_proxies_append(
        mut sent in prop::collection::vec(hostile_line(), 0..4),
        caller: IpAddr,
        proxies in prop::collection::vec((trusted_hop(), any::<bool>()), 1..5),
    ) {
        let trusted = ClientIp::trusted_proxies(["10.0.0.0/8"]).unwrap();
        let expected = canonical(caller);
        prop_assume!(!matches!(expected, IpAddr::V4(ip) if ip.octets()[0] == 10));

        let mut x_forwarded_for = sent.clone();
        let forwarded = &mut sent;
        let mut peer = caller;
        for (proxy, own_line) in proxies {
            append(&mut x_forwarded_for, &peer.to_string(), own_line);
            let element = match peer {
                IpAddr::V4(ip) => format!("for={ip};proto=http"),
                IpAddr::V6(ip) => format!("for=\"[{ip}]:80\";proto=http"),
            };
            append(forwarded, &element, own_line);
            peer = proxy;
        }
        let headers = headers_of(&x_forwarded_for, forwarded);
        for client_ip in [trusted.clone(), trusted.forwarded()] {
            let mut extensions = Extensions::new();
            extensions.insert(PeerAddr(SocketAddr::new(peer, 1)));
            let resolved = client_ip.resolve(&headers, &mut extensions);
            prop_assert_eq!(resolved, Some(expected), "{:?}", &headers);
        }
    }

    #[test]
    fn any_bytes_are_an_address_or_none(bytes in hostile_line()) {
        if let Some(address) = parse_node(&bytes) {
            prop_assert_eq!(canonical(address), address);
        }
        let _ = forwarded_for(&bytes);
        prop_assert!(Elements(Some(&bytes)).map(<[u8]>::len).sum::<usize>() <= bytes.len());
    }
}
