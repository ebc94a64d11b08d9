//! Clients and grants from their making to their end, and how answers are read.

use serde_json::json;

use wacht_auth::Error;
use wacht_auth::dev::DevGateway;
use wacht_auth::models::{
    OAuthAccessTokenFormat, OAuthGrantStatus, RecordId, UpdateOAuthClientRequest,
};

use super::{acme, partner};
use crate::wire::{Canned, with_status};

#[tokio::test]
async fn a_client_lives_from_its_secret_to_its_end() {
    let gateway = DevGateway::start().await;
    let oauth = gateway.client().oauth();
    oauth.create_oauth_app(acme()).send().await.unwrap();
    let made = oauth
        .create_oauth_client("acme", partner())
        .access_token_format(OAuthAccessTokenFormat::Opaque)
        .access_token_ttl_seconds(60)
        .skip_consent(true)
        .post_logout_redirect_uris(["https://app.example.test/bye"])
        .send()
        .await
        .unwrap();
    let secret = made.client_secret.clone().unwrap();
    assert!(secret.starts_with("oc_secret_") && made.client_id.starts_with("oc_"));
    assert!(!format!("{made:?}").contains(&secret));
    assert_eq!(
        (made.access_token_ttl_seconds, made.skip_consent),
        (Some(60), true)
    );
    let listed = oauth.list_oauth_clients("acme").send().await.unwrap();
    assert_eq!((listed.len(), &listed[0]), (1, &made.client));

    let update = UpdateOAuthClientRequest {
        client_name: Some("Partner".to_owned()),
        ..Default::default()
    };
    let call = oauth
        .update_oauth_client("acme", &made.client, update)
        .skip_consent(false);
    let updated = call.send().await.unwrap();
    assert_eq!(updated.client_name.as_deref(), Some("Partner"));
    assert!(!updated.skip_consent);
    assert_eq!(
        updated.post_logout_redirect_uris,
        made.post_logout_redirect_uris
    );

    let rotated = oauth
        .rotate_oauth_client_secret("acme", made.id)
        .send()
        .await
        .unwrap();
    assert_ne!(rotated.client_secret, secret);
    assert!(!format!("{rotated:?}").contains(&rotated.client_secret));

    oauth
        .deactivate_oauth_client("acme", made.id)
        .send()
        .await
        .unwrap();
    let again = oauth.deactivate_oauth_client("acme", made.id).send().await;
    assert!(again.unwrap_err().is_not_found());
    assert!(!oauth.list_oauth_clients("acme").send().await.unwrap()[0].is_active);
}

#[tokio::test]
async fn a_grant_that_is_taken_back_ends_its_tokens() {
    let gateway = DevGateway::start().await;
    let client = gateway.client();
    let oauth = client.oauth();
    oauth.create_oauth_app(acme()).send().await.unwrap();
    let made = oauth
        .create_oauth_client("acme", partner())
        .send()
        .await
        .unwrap();
    let token = gateway
        .issue_token("orders")
        .oauth_client(made.id)
        .scopes(["read"])
        .issue();
    let check = || {
        let request = wacht_auth::models::CheckRequest::oauth_access_token(token.secret());
        client.gateway().check(request).send()
    };
    assert_eq!(
        check().await.unwrap().identity.unwrap().key_name,
        made.client_id
    );

    let grants = oauth
        .list_oauth_grants("acme", &made.client)
        .send()
        .await
        .unwrap();
    assert_eq!(grants.len(), 1);
    assert_eq!(
        (grants[0].oauth_client_id, &grants[0].status),
        (made.id, &OAuthGrantStatus::Active)
    );
    assert_eq!(
        (grants[0].api_auth_app_slug.as_str(), &*grants[0].scopes),
        ("orders", &["read".to_owned()][..])
    );
    for grant in [
        RecordId::from(&grants[0]),
        RecordId::from(&grants[0]),
        RecordId::from(1),
    ] {
        oauth
            .revoke_oauth_grant("acme", &made.client, grant)
            .send()
            .await
            .unwrap();
    }
    assert!(check().await.unwrap_err().is_invalid_key());
    let grants = oauth
        .list_oauth_grants("acme", made.id)
        .send()
        .await
        .unwrap();
    assert_eq!(grants[0].status, OAuthGrantStatus::Revoked);
}

#[tokio::test]
async fn lists_are_read_in_every_envelope_and_say_what_they_cannot_read() {
    let server = Canned::start().await;
    let oauth = server.client().oauth();
    let at = "2026-11-21T22:14:52.762229Z";
    let grant = json!({
        "id": 9_007_199_254_740_993_i64, "oauth_client_id": "7", "status": "dormant",
        "granted_at": at, "created_at": at, "updated_at": at, "new": 1,
    });
    for list in [
        json!([grant]),
        json!({ "grants": [grant] }),
        json!({ "data": [grant] }),
        json!({ "data": { "grants": [grant] } }),
    ] {
        server.answer(with_status(200, list.to_string()));
        let grants = oauth.list_oauth_grants("a", 7).send().await.unwrap();
        assert_eq!(
            (grants[0].id, grants[0].oauth_client_id),
            (9_007_199_254_740_993, 7)
        );
        assert_eq!(
            grants[0].status,
            OAuthGrantStatus::Unknown("dormant".to_owned())
        );
        assert!(grants[0].scopes.is_empty());
    }

    let mut broken = grant.clone();
    broken["granted_at"] = json!("yesterday");
    let list = json!({ "grants": [grant, broken] });
    server.answer(with_status(200, list.to_string()));
    let Err(Error::Decode(error)) = oauth.list_oauth_grants("a", 7).send().await else {
        panic!("a list must not hide what it cannot read");
    };
    assert_eq!(error.path(), Some("grants[1].granted_at"));

    let domain = json!({ "domain": "d", "cname_target": "t", "verified": true });
    let wrapped = json!({ "data": domain });
    server.answer(with_status(200, wrapped.to_string()));
    assert!(
        oauth
            .verify_oauth_app_domain("a")
            .send()
            .await
            .unwrap()
            .verified
    );
    server.answer(with_status(200, r#"{"client_secret":7}"#));
    let rotated = oauth.rotate_oauth_client_secret("a", 1).send().await;
    assert!(matches!(rotated, Err(Error::Decode(error)) if error.path() == Some("client_secret")));
}
