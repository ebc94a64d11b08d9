//! Which refusals are gRPC's: those of gRPC calls, and of nothing that only resembles one.

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::Response;
use wacht_auth::{CredentialSource, GrpcRefusals, RequirePermissionsLayer, WachtAuthLayer};

use crate::raw::{send, serve};
use crate::scene::Scene;

const POST: &str = "POST /orders HTTP/1.1";
const GRPC: &str = "content-type: application/grpc";

fn app(layer: WachtAuthLayer) -> Router {
    let layer = layer.on_reject(|rejection, _| {
        let mut response = Response::new(Bytes::from_static(b"house format"));
        *response.status_mut() = rejection.kind().status();
        response
    });
    Router::new()
        .route("/orders", post(async || "orders").get(async || "orders"))
        .layer(layer)
}

#[tokio::test]
async fn over_http_1_only_a_post_that_takes_trailers_is_a_grpc_call() {
    let scene = Scene::new().await;
    let address = serve(app(scene.layer())).await;
    for headers in [
        vec![GRPC],
        vec![GRPC, "te: gzip"],
        vec![GRPC, "te: trailersx"],
        vec!["te: trailers"],
        vec!["content-type: application/grpc-web", "te: trailers"],
        vec!["content-type: application/grpc-web+proto", "te: trailers"],
        vec!["content-type: application/grpc x", "te: trailers"],
        vec!["content-type: application/grpcish", "te: trailers"],
        vec!["content-type: text/plain;application/grpc", "te: trailers"],
    ] {
        let answer = send(address, POST, &headers).await;
        assert_eq!(answer.status, 401, "{headers:?}");
        assert_eq!(answer.body, "house format", "{headers:?}");
        assert_eq!(answer.header("grpc-status"), "", "{headers:?}");
    }
    let got = send(address, "GET /orders HTTP/1.1", &[GRPC, "te: trailers"]).await;
    assert_eq!((got.status, &*got.body), (401, "house format"));

    for headers in [
        vec![GRPC, "te: trailers"],
        vec!["content-type: application/grpc+proto", "te: gzip, Trailers"],
        vec![
            "content-type: Application/GRPC;x=y",
            "te: gzip",
            "te: trailers",
        ],
    ] {
        let answer = send(address, POST, &headers).await;
        assert_eq!(answer.status, 200, "{headers:?}");
        assert_eq!(answer.header("grpc-status"), "16", "{headers:?}");
        assert_eq!(answer.body, "", "{headers:?}");
    }
}

#[tokio::test]
async fn a_service_without_grpc_never_refuses_with_200() {
    let scene = Scene::new().await;
    let address = serve(app(scene.layer().grpc(GrpcRefusals::Never))).await;
    let answer = send(address, POST, &[GRPC, "te: trailers"]).await;
    assert_eq!((answer.status, &*answer.body), (401, "house format"));

    let always = serve(app(scene.layer().grpc(GrpcRefusals::Always))).await;
    let answer = send(always, "GET /orders HTTP/1.1", &[]).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (200, "16"));
}

#[tokio::test]
async fn what_stands_behind_the_gate_refuses_by_its_rule_whatever_the_order_of_options() {
    let scene = Scene::new().await;
    let key = scene.key();
    let bearer = format!("authorization: Bearer {}", key.secret());
    let guarded = |layer: WachtAuthLayer| {
        let guard = RequirePermissionsLayer::new("orders:write").unwrap();
        Router::new()
            .route("/orders", post(async || "orders").route_layer(guard))
            .layer(layer)
    };
    let never = |layer: WachtAuthLayer| layer.grpc(GrpcRefusals::Never);
    let source = CredentialSource::bearer;
    for (layer, status) in [
        (scene.layer(), 200),
        (never(scene.layer()), 403),
        (
            never(scene.layer()).realm("shop").credentials(source()),
            403,
        ),
        (
            never(scene.layer().realm("shop").credentials(source())),
            403,
        ),
    ] {
        let address = serve(guarded(layer)).await;
        let answer = send(address, POST, &[GRPC, "te: trailers", &bearer]).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
