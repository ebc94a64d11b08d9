use http::Request;

use super::*;

#[cfg(any(feature = "axum", feature = "tonic"))]
fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn parts(uri: &str) -> Parts {
    Request::get(uri).body(()).unwrap().into_parts().0
}

#[test]
fn without_a_record_there_is_no_peer() {
    assert_eq!(peer(&mut Extensions::new()), None);
}

#[test]
#[cfg(feature = "axum")]
fn the_peer_is_ours_before_axums_before_its_mock() {
    use axum::extract::ConnectInfo;
    use axum::extract::connect_info::MockConnectInfo;

    let mut extensions = Extensions::new();
    extensions.insert(MockConnectInfo(addr("192.0.2.1:1")));
    assert_eq!(peer(&mut extensions), Some(addr("192.0.2.1:1")));
    extensions.insert(ConnectInfo(addr("192.0.2.2:2")));
    assert_eq!(peer(&mut extensions), Some(addr("192.0.2.2:2")));
    extensions.insert(PeerAddr(addr("192.0.2.3:3")));
    assert_eq!(peer(&mut extensions), Some(addr("192.0.2.3:3")));
}

#[test]
#[cfg(feature = "tonic")]
fn tonics_peer_is_found_and_the_extensions_survive() {
    use tonic::transport::server::TcpConnectInfo;

    let mut extensions = Extensions::new();
    extensions.insert("something else");
    assert_eq!(peer(&mut extensions), None);
    let remote_addr = Some(addr("[2001:db8::1]:4"));
    extensions.insert(TcpConnectInfo {
        local_addr: None,
        remote_addr,
    });
    assert_eq!(peer(&mut extensions), remote_addr);
    assert_eq!(extensions.get(), Some(&"something else"));
    assert!(extensions.get::<TcpConnectInfo>().is_some());
}

#[test]
fn the_path_is_never_empty() {
    assert_eq!(original_path(&parts("/orders/7?x=1")), "/orders/7");
    assert_eq!(original_path(&parts("http://localhost")), "/");
    assert_eq!(original_path(&parts("localhost:443")), "/");
}

#[test]
#[cfg(feature = "axum")]
fn the_path_before_nesting_wins() {
    let mut parts = parts("/7");
    parts
        .extensions
        .insert(axum::extract::OriginalUri(http::Uri::from_static(
            "/orders/7?a",
        )));
    assert_eq!(original_path(&parts), "/orders/7");
}
