//! What servers and frameworks leave in a request's extensions about its connection.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{Extensions, Uri};

/// The remote end of the connection a request came in on.
///
/// axum's and tonic's servers record it on their own. Whoever serves with hyper puts it into each
/// request's extensions. It wins over what a framework has recorded.
///
/// A test that hands a request to a service without a server does the same:
///
/// ```
/// use http::Request;
/// use wacht_auth::dev::{DevGateway, DevRule};
/// use wacht_auth::{PeerAddr, RejectionKind, WachtAuthLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let wacht = DevGateway::start().await;
/// wacht.app("orders").scheme([DevRule::per_app_and_ip(100, "minute", 1)]);
/// let key = wacht.issue_key("orders").issue();
/// let gate = WachtAuthLayer::new(wacht.client()).app("orders");
/// let gate = gate.handle();
///
/// let bearer = format!("Bearer {}", key.secret());
/// let (mut request, ()) = Request::get("/").header("authorization", bearer).body(())?.into_parts();
/// let refused = gate.authenticate(&request).await.unwrap_err();
/// assert_eq!(refused.kind(), RejectionKind::Misconfigured, "no address to count by");
///
/// request.extensions.insert(PeerAddr("192.0.2.7:50123".parse()?));
/// assert!(gate.authenticate(&request).await.is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

/// The address of the caller, as something in front of the gate has worked it out.
///
/// Only read under [`ClientIp::from_extension`](crate::ClientIp::from_extension).
///
/// ```
/// use http::Request;
/// use wacht_auth::ClientAddr;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut request = Request::get("/orders").header("x-real-ip", "203.0.113.9").body(())?;
/// // Only where a proxy sets the header and callers cannot.
/// if let Some(address) = request.headers().get("x-real-ip") {
///     let address = ClientAddr(address.to_str()?.parse()?);
///     request.extensions_mut().insert(address);
/// }
/// assert!(request.extensions().get::<ClientAddr>().is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub IpAddr);

/// The peer of a request's connection: [`PeerAddr`], else what axum, else what tonic recorded.
///
/// The extensions are as before afterwards. They are `&mut` because tonic's TLS record can only
/// be read by lending it the whole map.
pub(crate) fn peer(extensions: &mut Extensions) -> Option<SocketAddr> {
    if let Some(PeerAddr(peer)) = extensions.get() {
        return Some(*peer);
    }
    axum_connection::peer(extensions).or_else(|| tonic_connection::peer(extensions))
}

/// The path the caller asked for, never empty. Inside axum's `nest` the URI has lost its front.
pub(crate) fn original_path(parts: &Parts) -> &str {
    let uri = axum_connection::original_uri(&parts.extensions).unwrap_or(&parts.uri);
    match uri.path() {
        "" => "/",
        path => path,
    }
}

/// The URI that axum has kept as it came.
pub(crate) fn original_uri_mut(extensions: &mut Extensions) -> Option<&mut Uri> {
    axum_connection::original_uri_mut(extensions)
}

#[cfg(feature = "axum")]
mod axum_connection {
    use std::net::SocketAddr;

    use axum::extract::connect_info::MockConnectInfo;
    use axum::extract::{ConnectInfo, OriginalUri};
    use http::{Extensions, Uri};

    pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
        let real = extensions.get().map(|ConnectInfo(peer)| *peer);
        real.or_else(|| extensions.get().map(|MockConnectInfo(peer)| *peer))
    }

    pub(super) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
        extensions.get().map(|OriginalUri(uri)| uri)
    }

    pub(super) fn original_uri_mut(extensions: &mut Extensions) -> Option<&mut Uri> {
        extensions.get_mut().map(|OriginalUri(uri)| uri)
    }
}

#[cfg(not(feature = "axum"))]
mod axum_connection {
    use std::net::SocketAddr;

    use http::{Extensions, Uri};

    pub(super) fn peer(_: &Extensions) -> Option<SocketAddr> {
        None
    }

    pub(super) fn original_uri(_: &Extensions) -> Option<&Uri> {
        None
    }

    pub(super) fn original_uri_mut(_: &mut Extensions) -> Option<&mut Uri> {
        None
    }
}

#[cfg(feature = "tonic")]
mod tonic_connection {
    use std::mem;
    use std::net::SocketAddr;

    use http::Extensions;
    use tonic::Request;
    use tonic::metadata::MetadataMap;

    pub(super) fn peer(extensions: &mut Extensions) -> Option<SocketAddr> {
        // `TlsConnectInfo` exists only under tonic's private feature: whether this application
        // has turned it on, tonic alone can tell.
        let request = Request::from_parts(MetadataMap::new(), mem::take(extensions), ());
        let peer = request.remote_addr();
        (_, *extensions, ()) = request.into_parts();
        peer
    }
}

#[cfg(not(feature = "tonic"))]
mod tonic_connection {
    use std::net::SocketAddr;

    use http::Extensions;

    pub(super) fn peer(_: &mut Extensions) -> Option<SocketAddr> {
        None
    }
}

#[cfg(test)]
mod tests;
