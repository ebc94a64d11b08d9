//! Whose address counts, and under what.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::header::FORWARDED;
use http::{Extensions, HeaderMap};
use ipnet::IpNet;

use crate::client::{ConfigError, ConfigErrorKind, Error};
use crate::gate::request::client_ip::address::{canonical, parse_network};
use crate::gate::request::client_ip::hops::{X_FORWARDED_FOR, caller, forwarded, x_forwarded_for};
use crate::gate::request::peer;
use crate::gate::request::peer::ClientAddr;

const DEFAULT_IPV6_PREFIX: u8 = 64;
pub(crate) const NO_PROXY_IS_TRUSTED: &str = "forwarded addresses arrive and no proxy is trusted: all \
    callers behind a proxy are counted as one";
const EVERYBODY_IS_TRUSTED: &str = "every address is trusted as a proxy: callers choose the address \
    that they are counted by";

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
/// let gate = WachtAuthLayer::builder(wacht.client()).client_ip(client_ip).build()?.app("orders");
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
    source: AddressSource,
    ipv6_prefix: u8,
}

#[derive(Clone, Debug)]
enum AddressSource {
    Proxies {
        trusted: Arc<[IpNet]>,
        header: ForwardingHeader,
    },
    Extension,
}

#[derive(Clone, Copy, Debug)]
enum ForwardingHeader {
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
    /// Behind a proxy this is the proxy, and all callers share one address. When `X-Forwarded-For` or
    /// `Forwarded` arrives all the same, the log says so once, and [`AuthHandle::check`] each time.
    ///
    /// [`AuthHandle::check`]: crate::AuthHandle::check
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
    /// let gate = WachtAuthLayer::builder(wacht.client()).client_ip(ClientIp::peer()).build()?.app("orders");
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
    /// proxies and no more. `0.0.0.0/0` lets every caller choose an address: the log says so once, and
    /// [`AuthHandle::check`](crate::AuthHandle::check) is an error. With no entries the
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
    /// let gate = WachtAuthLayer::builder(wacht.client()).client_ip(client_ip).build()?.app("orders");
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
    /// let gate = WachtAuthLayer::builder(wacht.client()).client_ip(client_ip).build()?.app("orders");
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
            source: AddressSource::Extension,
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
    /// let gate = WachtAuthLayer::builder(wacht.client()).client_ip(client_ip).build()?.app("orders");
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
        if let AddressSource::Proxies { header, .. } = &mut self.source {
            *header = ForwardingHeader::Forwarded;
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
    /// let gate = WachtAuthLayer::builder(wacht.client())
    /// #     .clock(&clock)
    ///     .client_ip(client_ip)
    ///     .build()?
    ///     .app("orders");
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
            AddressSource::Proxies { trusted, header } => {
                let peer = canonical(peer::peer(extensions)?.ip());
                Some(match header {
                    _ if trusted.is_empty() => peer,
                    ForwardingHeader::XForwardedFor => {
                        caller(peer, x_forwarded_for(headers), trusted)
                    }
                    ForwardingHeader::Forwarded => caller(peer, forwarded(headers), trusted),
                })
            }
            AddressSource::Extension => extensions.get().map(|ClientAddr(ip)| canonical(*ip)),
        }
    }

    /// Why the addresses that these headers bring are lost, or anybody's choice.
    pub(crate) fn doubt(&self, headers: &HeaderMap) -> Option<&'static str> {
        let is_forwarded = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
        match &self.source {
            AddressSource::Proxies { trusted, .. } if is_forwarded && trusted.is_empty() => {
                Some(NO_PROXY_IS_TRUSTED)
            }
            _ => self.trusts_everybody(),
        }
    }

    /// The words for it, if every address counts as a proxy.
    pub(crate) fn trusts_everybody(&self) -> Option<&'static str> {
        match &self.source {
            AddressSource::Proxies { trusted, .. } => {
                let everybody = trusted.iter().any(|network| network.prefix_len() == 0);
                everybody.then_some(EVERYBODY_IS_TRUSTED)
            }
            AddressSource::Extension => None,
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
        let source = AddressSource::Proxies {
            trusted,
            header: ForwardingHeader::XForwardedFor,
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
