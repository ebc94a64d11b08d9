//! What layers further out are told: the caller of an admitted answer, and whose addresses count.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, service_fn};
use wacht_auth::client::ConfigErrorKind;
use wacht_auth::{
    ClientIp, Error, Principal, RejectionKind, RequirePermissionsLayer, WachtAuthLayer,
};

use crate::scene::{Met, Scene, anonymous, get, made_up, met};

/// What comes of a request to a handler that answers 404 and says nothing of its caller.
async fn answered(layer: &WachtAuthLayer, request: Request<Full<Bytes>>) -> Met {
    let not_found = service_fn(async |_: Request<Full<Bytes>>| {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        Ok::<_, Infallible>(response)
    });
    met(layer.layer(not_found), request).await
}

#[tokio::test]
async fn an_admitted_answer_tells_the_caller_whoever_made_it() {
    let scene = Scene::new().await;
    let key = scene.key();
    let quiet = scene.layer().app("orders");
    let telling = quiet.clone().tell_outside();
    // A verification, and a hit.
    for _ in 0..2 {
        let met = answered(&telling, get(key.secret())).await;
        assert_eq!(met.status, StatusCode::NOT_FOUND);
        assert_eq!(
            met.caller.as_ref().map(Principal::key_id),
            Some(key.key_id())
        );
        assert!(answered(&quiet, get(key.secret())).await.caller.is_none());
    }

    // A guard behind the gate has refused what the gate let in.
    let guard = RequirePermissionsLayer::new("orders:write").unwrap();
    let orders = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let behind = guard.layer(orders);
    let met = met(telling.layer(behind), get(key.secret())).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    assert_eq!(
        met.caller.as_ref().map(Principal::key_id),
        Some(key.key_id())
    );
}

#[tokio::test]
async fn nobody_is_told_where_nobody_was_let_in() {
    let scene = Scene::new().await;
    let key = scene.key();
    let telling = scene.layer().app("orders").tell_outside();
    for request in [anonymous(), get(&made_up(1))] {
        let met = answered(&telling, request).await;
        assert!(met.refusal.is_some() && met.caller.is_none(), "{met:?}");
    }
    let optional = answered(&telling.clone().optional(), anonymous()).await;
    assert!(optional.refusal.is_none() && optional.caller.is_none());
    let skipped = answered(&telling.clone().skip(|_| true), get(key.secret())).await;
    assert!(skipped.refusal.is_none() && skipped.caller.is_none());
    // Not what the service says of its caller, but what the gate knows.
    let denied = telling.require("orders:write").unwrap();
    let met = answered(&denied, get(key.secret())).await;
    met.assert_refused(RejectionKind::PermissionDenied);
    assert!(met.caller.is_none());
}

#[tokio::test]
async fn a_gate_within_a_gate_tells_the_caller_of_both() {
    let scene = Scene::new().await;
    let key = scene.key();
    let outer = scene.layer().app("orders").tell_outside();
    let inner = outer.clone().skip(|_| true);
    let orders = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let within = inner.layer(orders);
    let service = tower::ServiceBuilder::new()
        .layer(outer)
        .map_response(
            |response: Response<wacht_auth::ResponseBody<Full<Bytes>>>| {
                let told = response.extensions().get::<Principal>().is_some();
                assert!(told, "by the inner gate, to what is between them");
                response
            },
        )
        .service(within);
    let met = met(service, get(key.secret())).await;
    assert_eq!(
        met.caller.as_ref().map(Principal::key_id),
        Some(key.key_id())
    );
}

#[tokio::test]
async fn a_check_is_an_error_where_every_address_is_a_proxy() {
    let scene = Scene::new().await;
    for (networks, is_error) in [
        (vec!["0.0.0.0/0"], true),
        (vec!["10.0.0.0/8", "::/0"], true),
        (vec!["10.0.0.0/8"], false),
        (vec![], false),
    ] {
        let client_ip = ClientIp::trusted_proxies(&networks).unwrap();
        let layer = scene.builder().client_ip(client_ip).build().unwrap();
        let checked = layer.app("orders").handle().check().await;
        match checked {
            Ok(()) => assert!(!is_error, "{networks:?}"),
            Err(Error::Config(error)) => {
                assert!(is_error, "{networks:?}: {error}");
                assert_eq!(error.kind(), ConfigErrorKind::ClientIp);
            }
            Err(error) => panic!("{networks:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_strangers_forwarded_address_does_not_fail_the_check() {
    let scene = Scene::new().await;
    let layer = scene.layer().app("orders");
    for name in ["x-forwarded-for", "forwarded"] {
        let mut request = get(&made_up(1));
        let value = HeaderValue::from_static("for=203.0.113.9");
        request.headers_mut().insert(name, value);
        answered(&layer, request).await;
    }
    assert!(layer.handle().check().await.is_ok());
}
