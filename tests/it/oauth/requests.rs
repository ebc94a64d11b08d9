//! What goes out, and what does not.

use serde_json::{Value, json};

use wacht_auth::dev::DevGateway;
use wacht_auth::models::{
    CreateOAuthAppRequest, CreateOAuthClientRequest, Logo, OAuthClientAuthMethod, OAuthGrantType,
    OAuthScopeCategory, RecordId, SetOAuthScopeMappingRequest, UpdateOAuthAppRequest,
    UpdateOAuthClientRequest,
};
use wacht_auth::{Error, Result};

use super::{acme, definitions, partner};
use crate::wire::{Canned, with_status};

#[track_caller]
fn refused<T>(result: Result<T>) -> String {
    match result {
        Err(Error::InvalidRequest(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was sent"),
    }
}

#[tokio::test]
async fn a_logo_is_sent_with_its_content_type_and_any_other_file_is_not_sent() {
    let gateway = DevGateway::start().await;
    let oauth = gateway.client().oauth();
    for (n, content_type) in ["text/plain", "image/svg+xml", "png", ""]
        .iter()
        .enumerate()
    {
        let call = oauth
            .create_oauth_app(acme())
            .logo(Logo::new("x", *content_type));
        let message = refused(call.send().await);
        assert!(message.contains("content type"), "{n} {message}");
    }
    for logo in [
        Logo::new("", "image/png"),
        Logo::new(vec![0; 3 << 20], "image/png"),
    ] {
        refused(oauth.create_oauth_app(acme()).logo(logo).send().await);
    }
    assert_eq!(gateway.journal().management_calls(), 0);

    let call = oauth
        .create_oauth_app(acme())
        .logo(Logo::new("x", "image/svg+xml"));
    let error = call.unchecked().send().await.unwrap_err();
    assert!(
        error.to_string().contains("Unsupported image format"),
        "{error}"
    );

    let logo = Logo::new(&b"\x89PNG\r\n\r\n--"[..], "image/png");
    let app = oauth
        .create_oauth_app(acme())
        .logo(logo)
        .send()
        .await
        .unwrap();
    assert!(app.logo_url.unwrap().ends_with(".png"));
    let body = gateway.journal().entries().pop().unwrap().body;
    let head = "name=\"logo\"; filename=\"logo.png\"\r\nContent-Type: image/png\r\n\r\n";
    assert!(body.contains(head), "{body}");
}

#[tokio::test]
async fn every_part_of_a_new_app_arrives() {
    let gateway = DevGateway::start().await;
    let new = CreateOAuthAppRequest {
        description: Some("what it is for".to_owned()),
        allow_dynamic_client_registration: Some(true),
        ..acme()
    };
    let oauth = gateway.client().oauth();
    let app = oauth
        .create_oauth_app(new)
        .fqdn("sign-in.example.test")
        .send()
        .await
        .unwrap();
    assert_eq!((app.slug.as_str(), app.name.as_str()), ("acme", "Acme"));
    assert_eq!(app.description.as_deref(), Some("what it is for"));
    assert!(app.allow_dynamic_client_registration && app.is_active);
    assert_eq!(app.supported_scopes, ["profile", "read", "write"]);
    assert_eq!(app.scope_definitions, definitions());
    let body = gateway.journal().entries().pop().unwrap().body;
    assert!(
        body.contains("name=\"fqdn\"\r\n\r\nsign-in.example.test\r\n"),
        "{body}"
    );
    let apps = oauth.list_oauth_apps().send().await.unwrap();
    assert_eq!(apps, [app]);
    let again = oauth.create_oauth_app(acme()).send().await.unwrap_err();
    assert_eq!(again.status().map(|status| status.as_u16()), Some(409));
}

#[tokio::test]
async fn a_bad_app_is_refused_here_and_sent_when_unchecked() {
    let server = Canned::start().await;
    server.answer(with_status(400, ""));
    let oauth = server.client().oauth();
    let scope = |change: fn(&mut wacht_auth::models::OAuthScopeDefinition)| {
        let mut new = acme();
        new.scope_definitions
            .as_mut()
            .unwrap()
            .iter_mut()
            .take(1)
            .for_each(change);
        new
    };
    for (new, word) in [
        (
            CreateOAuthAppRequest {
                slug: " ".to_owned(),
                ..acme()
            },
            "slug",
        ),
        (
            CreateOAuthAppRequest {
                slug: "..".to_owned(),
                ..acme()
            },
            "no call",
        ),
        (
            CreateOAuthAppRequest {
                name: String::new(),
                ..acme()
            },
            "name",
        ),
        (
            CreateOAuthAppRequest {
                supported_scopes: None,
                ..acme()
            },
            "not among",
        ),
        (
            CreateOAuthAppRequest {
                supported_scopes: Some(vec!["a,b".to_owned()]),
                scope_definitions: None,
                ..acme()
            },
            "comma",
        ),
        (scope(|s| s.category = "galaxy".into()), "galaxy"),
        (
            scope(|s| s.workspace_permission = Some("w".to_owned())),
            "workspace_permission",
        ),
        (
            scope(|s| {
                s.category = OAuthScopeCategory::Workspace;
                s.organization_permission = Some("o".to_owned());
            }),
            "organization_permission",
        ),
    ] {
        let message = refused(oauth.create_oauth_app(new.clone()).send().await);
        assert!(message.contains(word), "{message}");
        assert!(server.take_asked().is_empty());
        let error = oauth
            .create_oauth_app(new)
            .unchecked()
            .send()
            .await
            .unwrap_err();
        assert!(error.status().is_some(), "{error:?}");
        assert_eq!(server.take_asked().len(), 1);
    }
    for fqdn in [
        "localhost",
        "-a.example",
        "a..example",
        "a.example.",
        "ä.example",
    ] {
        let message = refused(oauth.create_oauth_app(acme()).fqdn(fqdn).send().await);
        assert!(message.contains("fqdn"), "{message}");
    }
    let update = UpdateOAuthAppRequest {
        supported_scopes: Some(vec!["read".to_owned()]),
        scope_definitions: Some(definitions()),
        ..Default::default()
    };
    refused(oauth.update_oauth_app("acme", update).send().await);
    for slug in ["", ".", ".."] {
        let update = UpdateOAuthAppRequest::default();
        refused(oauth.update_oauth_app(slug, update).send().await);
    }
    let mapping = SetOAuthScopeMappingRequest::default();
    refused(
        oauth
            .set_oauth_scope_mapping("acme", "read", mapping)
            .send()
            .await,
    );
    assert!(server.take_asked().is_empty());
}

#[tokio::test]
async fn a_bad_client_is_refused_here_and_sent_when_unchecked() {
    let server = Canned::start().await;
    server.answer(with_status(400, ""));
    let oauth = server.client().oauth();
    let new = |change: fn(&mut CreateOAuthClientRequest)| {
        let mut new = partner();
        change(&mut new);
        new
    };
    for (new, word) in [
        (new(|c| c.client_auth_method = "magic".into()), "magic"),
        (new(|c| c.grant_types.clear()), "authorization_code"),
        (
            new(|c| c.grant_types = vec![OAuthGrantType::RefreshToken]),
            "authorization_code",
        ),
        (
            new(|c| c.grant_types.push("client_credentials".into())),
            "client_credentials",
        ),
        (new(|c| c.redirect_uris.clear()), "at least one"),
        (
            new(|c| c.redirect_uris[0] = "notaurl".to_owned()),
            "notaurl",
        ),
        (
            new(|c| c.redirect_uris[0] = "myapp://cb".to_owned()),
            "myapp",
        ),
        (
            new(|c| c.redirect_uris[0] = "https://a.example/#x".to_owned()),
            "fragment",
        ),
        (new(|c| c.tos_uri = Some("terms".to_owned())), "tos_uri"),
        (
            new(|c| c.client_auth_method = OAuthClientAuthMethod::PrivateKeyJwt),
            "exactly one",
        ),
        (
            new(|c| c.public_key_pem = Some("pem".to_owned())),
            "private_key_jwt",
        ),
        (
            new(|c| c.jwks_uri = Some("http://a.example".to_owned())),
            "jwks_uri",
        ),
        (new(|c| c.jwks = Some(json!({ "keys": [] }))), "jwks"),
        (
            new(|c| c.jwks = Some(json!({ "keys": [{ "k": "x" }] }))),
            "secret",
        ),
        (
            new(|c| c.jwks = Some(json!({ "keys": [{ "d": "x" }] }))),
            "secret",
        ),
    ] {
        let message = refused(oauth.create_oauth_client("a", new.clone()).send().await);
        assert!(message.contains(word), "{message}");
        assert!(server.take_asked().is_empty());
        let call = oauth.create_oauth_client("a", new).unchecked();
        assert!(call.send().await.unwrap_err().status().is_some());
        assert_eq!(server.take_asked().len(), 1);
    }
    let create = || oauth.create_oauth_client("a", partner());
    let update = || oauth.update_oauth_client("a", 1, UpdateOAuthClientRequest::default());
    for seconds in [59, 86_401] {
        refused(create().access_token_ttl_seconds(seconds).send().await);
        refused(update().access_token_ttl_seconds(seconds).send().await);
    }
    refused(create().access_token_format("x".into()).send().await);
    refused(create().id_token_signing_alg("HS256").send().await);
    refused(update().id_token_signing_alg("").send().await);
    refused(
        create()
            .post_logout_redirect_uris(["myapp://x"])
            .send()
            .await,
    );
    let keys = UpdateOAuthClientRequest {
        jwks_uri: Some("https://a.example".to_owned()),
        public_key_pem: Some("pem".to_owned()),
        ..Default::default()
    };
    refused(oauth.update_oauth_client("a", 1, keys).send().await);
    assert!(server.take_asked().is_empty());
}

#[tokio::test]
async fn an_id_that_is_none_is_refused_with_a_hint() {
    let server = Canned::start().await;
    server.answer(with_status(400, ""));
    let oauth = server.client().oauth();
    let update = UpdateOAuthClientRequest::default();
    let messages = [
        refused(oauth.update_oauth_client("a", "oc_x", update).send().await),
        refused(oauth.deactivate_oauth_client("a", "oc_x").send().await),
        refused(oauth.rotate_oauth_client_secret("a", "oc_x").send().await),
        refused(oauth.list_oauth_grants("a", "oc_x").send().await),
        refused(oauth.revoke_oauth_grant("a", "oc_x", 1).send().await),
    ];
    for message in messages {
        assert!(message.contains("`client_id`"), "{message}");
    }
    refused(oauth.revoke_oauth_grant("a", 1, "x").send().await);
    assert!(server.take_asked().is_empty());
    let call = oauth.deactivate_oauth_client("a/b", "oc_x/1").unchecked();
    assert!(call.send().await.unwrap_err().status().is_some());
    assert_eq!(
        server.take_asked()[0].uri(),
        "/oauth/apps/a%2Fb/clients/oc_x%2F1"
    );
    assert_eq!(RecordId::from("7"), RecordId::from(7));
}

#[tokio::test]
async fn what_nobody_set_is_not_sent_and_never_null() {
    let server = Canned::start().await;
    server.answer(with_status(400, ""));
    let oauth = server.client().oauth();
    let nothing = UpdateOAuthClientRequest::default();
    let _ = oauth.create_oauth_client("a", partner()).send().await;
    let _ = oauth
        .update_oauth_client("a", 1, nothing.clone())
        .send()
        .await;
    let none: [&str; 0] = [];
    let clear = oauth
        .update_oauth_client("a", 1, nothing)
        .post_logout_redirect_uris(none);
    let _ = clear.send().await;
    let bodies: Vec<Value> = server
        .take_asked()
        .iter()
        .map(|asked| serde_json::from_slice(asked.body()).unwrap())
        .collect();
    assert_eq!(
        bodies,
        [
            json!({
                "client_auth_method": "client_secret_basic",
                "grant_types": ["authorization_code", "refresh_token"],
                "redirect_uris": ["https://app.example.test/cb"],
            }),
            json!({}),
            json!({ "post_logout_redirect_uris": [] }),
        ]
    );
}
