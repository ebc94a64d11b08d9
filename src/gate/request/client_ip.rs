//! Works out which address a request comes from, without believing strangers.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::header::FORWARDED;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::client::{ConfigError, ConfigErrorKind, Error};
use crate::gate::request::peer;
use crate::gate::request::peer::ClientAddr;

/// How many hops are looked at, counted from the nearest. No real chain of proxies is as long.
const MAX_HOPS: usize = 64;
/// The longest address of a hop, in bytes, once unquoted: IPv6 with zone, brackets and port.
const MAX_NODE: usize = 80;
const DEFAULT_IPV6_PREFIX: u8 = 64;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Decides which address a caller counts under, for rate limits and for Wacht's audit.
///
/// Addresses are made canonical before anything else: IPv4 inside IPv6 (`::ffff:0:0/96`, and
/// `64:ff9b::/96` of NAT64) becomes IPv4, and zones (`%eth0`) are dropped.
///
/// ```
/// use http::Request;
/// use wacht_auth::dev::DevGateway;
/// use wacht_auth::{ClientIp, PeerAddr, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// let key = wacht.issue_key("orders").issue();
/// let client_ip = ClientIp::trusted_proxies(["10.0.0.0/8", "2001:db8::1"])?;
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders").client_ip(client_ip);
/// # let gate = gate.deadline(std::time::Duration::from_secs(60));
///
/// let (request, ()) = Request::get("/orders")
///     .header("authorization", format!("Bearer {}", key.secret()))
///     .header("x-forwarded-for", "203.0.113.9")
///     .extension(PeerAddr("10.0.0.2:41000".parse()?)) // the load balancer
///     .body(())?
///     .into_parts();
/// gate.handle().authenticate(&request).await?;
/// assert_eq!(wacht.journal().checks_asked()[0].client_ip.as_deref(), Some("203.0.113.9"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ClientIp {
    source: Source,
    ipv6_prefix: u8,
}

#[derive(Clone, Debug)]
enum Source {
    Proxies { trusted: Arc<[IpNet]>, chain: Chain },
    Extension,
}

#[derive(Clone, Copy, Debug)]
enum Chain {
    XForwardedFor,
    Forwarded,
}

/// An entry of [`ClientIp::trusted_proxies`] that is neither an address nor a network.
///
/// ```
/// use wacht_auth::ClientIp;
///
/// let error = ClientIp::trusted_proxies(["10.0.0.0/8", "load-balancer"]).unwrap_err();
/// assert_eq!((error.index(), error.entry()), (1, "load-balancer"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIpError {
    index: usize,
    entry: Box<str>,
}

impl ClientIp {
    /// The address of the connection's peer; no header is read. This is the default.
    ///
    /// Behind a proxy this is the proxy, and all callers share one address.
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{ClientIp, PeerAddr, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").client_ip(ClientIp::peer());
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    ///
    /// let (request, ()) = Request::get("/orders")
    ///     .header("authorization", format!("Bearer {}", key.secret()))
    ///     .header("x-forwarded-for", "203.0.113.9") // anybody can write that
    ///     .extension(PeerAddr("192.0.2.7:50123".parse()?))
    ///     .body(())?
    ///     .into_parts();
    /// gate.handle().authenticate(&request).await?;
    /// assert_eq!(wacht.journal().checks_asked()[0].client_ip.as_deref(), Some("192.0.2.7"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn peer() -> Self {
        Self::walking(Arc::from([]))
    }

    /// Reads `X-Forwarded-For` when the connection's peer is one of these networks (`10.0.0.0/8`,
    /// `fd00::/8`) or addresses.
    ///
    /// The hops of all `X-Forwarded-For` lines are walked from the right, the nearest first. The
    /// first one that is not trusted is the caller; when all are trusted, the leftmost. An entry
    /// that is no address (empty, `unknown`, `_hidden`) ends the walk, and so does the 64th: the
    /// caller is then the last trusted address to its right, never one further left. When the
    /// peer itself is not trusted, the header is ignored.
    ///
    /// Each entry is a promise that what has this address appends to the header, so name the
    /// proxies and no more. `0.0.0.0/0` lets every caller choose an address; with no entries the
    /// result is that of [`peer`](Self::peer). IPv6 entries inside the two ranges that stand for
    /// IPv4 are taken as IPv4.
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{ClientIp, PeerAddr, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let client_ip = ClientIp::trusted_proxies(["10.0.0.0/8"])?;
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").client_ip(client_ip);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    ///
    /// let (request, ()) = Request::get("/orders")
    ///     .header("authorization", format!("Bearer {}", key.secret()))
    ///     // The caller made the first one up; the proxies appended the others.
    ///     .header("x-forwarded-for", "198.51.100.1, 203.0.113.9, 10.0.0.3")
    ///     .extension(PeerAddr("10.0.0.2:41000".parse()?))
    ///     .body(())?
    ///     .into_parts();
    /// gate.handle().authenticate(&request).await?;
    /// assert_eq!(wacht.journal().checks_asked()[0].client_ip.as_deref(), Some("203.0.113.9"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClientIpError`] names the first entry that is neither an address nor a network.
    pub fn trusted_proxies<I>(networks: I) -> Result<Self, ClientIpError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        networks
            .into_iter()
            .enumerate()
            .map(|(index, entry)| {
                let entry = entry.as_ref();
                parse_network(entry).ok_or_else(|| ClientIpError {
                    index,
                    entry: entry.into(),
                })
            })
            .collect::<Result<Arc<[IpNet]>, _>>()
            .map(Self::walking)
    }

    /// The [`ClientAddr`] that something in front of the gate has put into the extensions.
    ///
    /// A request without one has no address; the peer does not take its place.
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{ClientAddr, ClientIp, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let client_ip = ClientIp::from_extension();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").client_ip(client_ip);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    ///
    /// let (request, ()) = Request::get("/orders")
    ///     .header("authorization", format!("Bearer {}", key.secret()))
    ///     .extension(ClientAddr("203.0.113.9".parse()?)) // by a layer of your own
    ///     .body(())?
    ///     .into_parts();
    /// gate.handle().authenticate(&request).await?;
    /// assert_eq!(wacht.journal().checks_asked()[0].client_ip.as_deref(), Some("203.0.113.9"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn from_extension() -> Self {
        Self {
            source: Source::Extension,
            ipv6_prefix: DEFAULT_IPV6_PREFIX,
        }
    }

    /// Reads `Forwarded` ([RFC 7239]) in place of `X-Forwarded-For`, by the same rules. An
    /// element without `for` ends the walk.
    ///
    /// Only one of the two is ever read, since a proxy that writes one passes the other through
    /// as the caller sent it. No effect without
    /// [`trusted_proxies`](Self::trusted_proxies).
    ///
    /// [RFC 7239]: https://www.rfc-editor.org/rfc/rfc7239
    ///
    /// ```
    /// use http::Request;
    /// use wacht_auth::dev::DevGateway;
    /// use wacht_auth::{ClientIp, PeerAddr, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// let key = wacht.issue_key("orders").issue();
    /// let client_ip = ClientIp::trusted_proxies(["10.0.0.0/8"])?.forwarded();
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").client_ip(client_ip);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    ///
    /// let (request, ()) = Request::get("/orders")
    ///     .header("authorization", format!("Bearer {}", key.secret()))
    ///     .header("forwarded", r#"for="[2001:db8::9]:4711";proto=https"#)
    ///     .header("x-forwarded-for", "198.51.100.1") // not looked at
    ///     .extension(PeerAddr("10.0.0.2:41000".parse()?))
    ///     .body(())?
    ///     .into_parts();
    /// gate.handle().authenticate(&request).await?;
    /// assert_eq!(wacht.journal().checks_asked()[0].client_ip.as_deref(), Some("2001:db8::9"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn forwarded(mut self) -> Self {
        if let Source::Proxies { chain, .. } = &mut self.source {
            *chain = Chain::Forwarded;
        }
        self
    }

    /// The number of leading bits under which IPv6 callers are counted together: 64 by default,
    /// the smallest network a site gets. Smaller numbers count larger networks as one caller;
    /// 128 counts each address. Bounds: 1 to 128, a number outside is moved to the nearest.
    ///
    /// IPv4 callers always count by their whole address.
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use wacht_auth::dev::{DevGateway, DevRule, ManualClock};
    /// use wacht_auth::{AuthContext, ClientIp, WachtAuthLayer};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let clock = ManualClock::new();
    /// # let wacht = DevGateway::start().await.clock(&clock);
    /// wacht.app("orders").scheme([DevRule::per_app_and_ip(1, "minute", 1)]);
    /// let key = wacht.issue_key("orders").issue();
    /// let client_ip = ClientIp::peer().ipv6_prefix(48);
    /// let gate = WachtAuthLayer::new(wacht.client()).app("orders").client_ip(client_ip);
    /// # let gate = gate.clock(&clock);
    /// # let gate = gate.deadline(std::time::Duration::from_secs(60));
    /// let gate = gate.handle();
    ///
    /// let from = |address: IpAddr| AuthContext::new("/orders").client_ip(address);
    /// let mut passes = Vec::new();
    /// for address in ["2001:db8:1::1", "2001:db8:1:2::3", "2001:db8:2::1"] {
    ///     let caller = gate.authenticate_key(key.secret(), &from(address.parse()?)).await;
    ///     passes.push(caller.is_ok());
    /// }
    /// assert_eq!(passes, [true, false, true]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = bits.clamp(1, 128);
        self
    }

    /// The caller's whole address, canonical. `None` when nothing told it.
    pub(crate) fn resolve(
        &self,
        headers: &HeaderMap,
        extensions: &mut Extensions,
    ) -> Option<IpAddr> {
        match &self.source {
            Source::Proxies { trusted, chain } => {
                let peer = canonical(peer::peer(extensions)?.ip());
                Some(match chain {
                    _ if trusted.is_empty() => peer,
                    Chain::XForwardedFor => caller(peer, x_forwarded_for(headers), trusted),
                    Chain::Forwarded => caller(peer, forwarded(headers), trusted),
                })
            }
            Source::Extension => extensions.get().map(|ClientAddr(ip)| canonical(*ip)),
        }
    }

    /// What an address is counted under: IPv6 cut to its prefix.
    pub(crate) fn subject(&self, ip: IpAddr) -> IpAddr {
        match canonical(ip) {
            IpAddr::V6(ip) => {
                let host_bits = 128_u32.saturating_sub(u32::from(self.ipv6_prefix));
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
            ip @ IpAddr::V4(_) => ip,
        }
    }

    fn walking(trusted: Arc<[IpNet]>) -> Self {
        let source = Source::Proxies {
            trusted,
            chain: Chain::XForwardedFor,
        };
        Self {
            source,
            ipv6_prefix: DEFAULT_IPV6_PREFIX,
        }
    }
}

impl Default for ClientIp {
    fn default() -> Self {
        Self::peer()
    }
}

impl ClientIpError {
    /// The position of the entry in the list, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The entry as it was given.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

impl fmt::Display for ClientIpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "trusted proxy {:?} (entry {} of the list, from 0) is neither an IP address nor a \
             network such as 10.0.0.0/8",
            self.entry, self.index
        )
    }
}

impl StdError for ClientIpError {}

impl From<ClientIpError> for Error {
    fn from(error: ClientIpError) -> Self {
        ConfigError::new(ConfigErrorKind::ClientIp, error.to_string()).into()
    }
}

/// The walk: from the peer over the hops, nearest first, as far as trust reaches.
fn caller(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
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
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    // On bytes: one stray byte far left must not hide what a proxy has appended to the line.
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(parse_node)
}

fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED).iter().rev();
    lines
        .flat_map(|line| Elements(Some(line.as_bytes())))
        .map(forwarded_for)
}

/// The elements of one `Forwarded` line, last first.
///
/// It is read from its end because the end is what the nearest proxy wrote. Read from the start,
/// a quote that a caller opens and leaves open would swallow it.
struct Elements<'h>(Option<&'h [u8]>);

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
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
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

/// An address as proxies write it: bare, or with a port, in brackets, with a zone.
fn parse_node(node: &[u8]) -> Option<IpAddr> {
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

fn parse_network(entry: &str) -> Option<IpNet> {
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

fn canonical(ip: IpAddr) -> IpAddr {
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

#[cfg(test)]
mod tests;
