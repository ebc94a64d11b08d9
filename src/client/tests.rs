//! A client as its users make it.

use std::env;

use std::ffi::OsString;
use std::sync::Arc;

use super::*;

const KEY: &str = "sk_SYNTHETIC-0123456789abcdefghijklmnopqrstuvwxyzAB";

fn from(variables: &[(&str, &str)]) -> Result<WachtClient> {
    let variables: Vec<(String, OsString)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
        .collect();
    WachtClient::from_variables(move |name| {
        variables
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    })
}

fn config_error(result: Result<WachtClient>) -> ConfigError {
    match result {
        Err(Error::Config(error)) => error,
        other => panic!("expected Error::Config, got {other:?}"),
    }
}

#[test]
fn environment_with_a_key_is_enough() {
    let client = from(&[("WACHT_API_KEY", KEY), ("WACHT_API_URL", "")]).unwrap();
    let shown = format!("{client:?}");
    assert!(shown.contains("https://api.wacht.dev"), "{shown}");
    assert!(shown.contains("https://gateway.wacht.dev"), "{shown}");
}

#[test]
fn environment_replaces_both_addresses() {
    let client = from(&[
        ("WACHT_API_KEY", KEY),
        ("WACHT_API_URL", "http://127.0.0.1:3001/"),
        ("WACHT_GATEWAY_URL", "http://[::1]:3002"),
    ])
    .unwrap();
    let shown = format!("{client:?}");
    assert!(shown.contains("http://127.0.0.1:3001\""), "{shown}");
    assert!(shown.contains("http://[::1]:3002\""), "{shown}");
}

#[test]
fn a_variable_that_cannot_be_used_is_named() {
    use ConfigErrorKind::{Environment, ManagementKey, Plaintext, Url};

    for (variables, name, kind) in [
        (
            vec![],
            "WACHT_API_KEY is not set: it has to hold",
            Environment,
        ),
        (vec![("WACHT_API_KEY", "")], "WACHT_API_KEY", ManagementKey),
        (
            vec![("WACHT_API_KEY", "has a space")],
            "WACHT_API_KEY",
            ManagementKey,
        ),
        (
            vec![("WACHT_API_KEY", "line\n")],
            "WACHT_API_KEY",
            ManagementKey,
        ),
        (
            vec![("WACHT_API_KEY", KEY), ("WACHT_API_URL", "nonsense")],
            "WACHT_API_URL",
            Url,
        ),
        (
            vec![
                ("WACHT_API_KEY", KEY),
                ("WACHT_GATEWAY_URL", "http://example.com"),
            ],
            "WACHT_GATEWAY_URL",
            Plaintext,
        ),
    ] {
        let error = config_error(from(&variables));
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn an_unusable_key_is_returned_by_every_call_and_never_shown() {
    let client = WachtClient::new("sk_SECRET-with-a-newline\n");
    let reason = client.config_error().unwrap().to_owned();
    for _ in 0..2 {
        let Err(Error::Config(error)) = client.transport() else {
            panic!("an unusable client must not have a transport");
        };
        assert_eq!(error.kind(), ConfigErrorKind::ManagementKey);
        assert_eq!(error.to_string(), reason);
    }
    let shown = format!("{client:?} {reason}");
    assert!(!shown.contains("SECRET"), "{shown}");
}

#[test]
fn clones_share_what_was_learned_and_other_clients_do_not() {
    let client = WachtClient::new(KEY);
    let clone = client.clone();
    client.deployment().get_or_init(|| 7);
    assert_eq!(clone.deployment().get(), Some(&7));
    assert_eq!(WachtClient::new(KEY).deployment().get(), None);
}

#[test]
fn the_key_is_not_in_debug() {
    let builder = WachtClient::builder(KEY).proxy("http://user:hunter2@127.0.0.1:1");
    assert!(!format!("{builder:?}").contains("SYNTHETIC"));
    assert!(!format!("{builder:?}").contains("hunter2"));
    let client = builder.build().unwrap();
    assert!(!format!("{client:?}").contains("SYNTHETIC"));
    assert!(!format!("{client:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_for_https_elsewhere_alone() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            log.lock().unwrap().push(request);
            let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(refusal).await.unwrap();
        }
    });
    for (url, goes_there) in [
        ("https://wacht.invalid", true),
        ("https://direct.invalid", false),
        ("http://wacht.invalid", false),
        ("https://127.0.0.1:1", false),
        ("https://[::1]:1", false),
        ("https://localhost:1", false),
        ("http://127.0.0.1:1", false),
    ] {
        let proxy = proxy.clone();
        let client = WachtClient::builder(KEY)
            .api_url(url)
            .gateway_url(url)
            .allow_plaintext()
            .no_retries()
            .build_with(move |name| match name {
                "HTTPS_PROXY" | "HTTP_PROXY" | "ALL_PROXY" => Some(proxy.clone().into()),
                "NO_PROXY" => Some("direct.invalid".into()),
                _ => None,
            })
            .unwrap();
        let result = client.api_keys().get_api_auth_app("a").send().await;
        assert!(
            matches!(result, Err(Error::Request(_))),
            "{url}: {result:?}"
        );
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.len(), usize::from(goes_there), "{url}");
        for request in seen {
            assert!(
                request.starts_with("CONNECT wacht.invalid:443 "),
                "{request}"
            );
            assert!(!request.contains("SYNTHETIC"), "{request}");
        }
    }
    server.abort();
}

#[test]
#[cfg(not(any(feature = "tls-aws-lc", feature = "tls-ring")))]
fn without_a_crypto_provider_every_call_says_which_feature_is_missing() {
    let missing = config_error(WachtClient::builder(KEY).build());
    assert_eq!(missing.kind(), ConfigErrorKind::Tls);
    assert!(missing.to_string().contains("`tls-aws-lc` or `tls-ring`"));
    let client = WachtClient::new(KEY);
    assert_eq!(client.config_error(), Some(&*missing.to_string()));
}

#[test]
fn what_is_no_root_certificate_is_refused() {
    let pem = |label: &str, content: &str| {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    };
    let certificate = include_str!("../../tests/tls/certificate.pem");
    for bad in [
        "certificate".to_owned(),
        pem("CERTIFICATE", "aGVsbG8="),
        pem("PUBLIC KEY", "aGVsbG8="),
        format!("{certificate}{}", pem("CERTIFICATE", "aGVsbG8=")),
    ] {
        let error = config_error(WachtClient::builder(KEY).root_certificates(&bad).build());
        assert_eq!(error.kind(), ConfigErrorKind::Tls, "{bad}");
    }
    // One without a line break at its end, and another behind it.
    let builder = WachtClient::builder(KEY).root_certificates(certificate.trim_end());
    assert!(builder.root_certificates(certificate).build().is_ok());
    assert!(
        WachtClient::builder(KEY)
            .root_certificates("\n")
            .build()
            .is_ok()
    );
}

// Without certificate store the TLS set-up of the client fails, and that may not matter to
// those who talk plain http to a gateway beside them.
#[test]
#[cfg(target_os = "linux")]
fn plain_http_needs_no_certificate_store() {
    if !is_child() {
        let empty = env::temp_dir().join(format!("wacht-auth-{}", std::process::id()));
        std::fs::create_dir_all(&empty).unwrap();
        let name = "client::tests::plain_http_needs_no_certificate_store";
        let result = in_child(name, "SSL_CERT_DIR", empty.to_str().unwrap());
        std::fs::remove_dir(&empty).unwrap();
        return result.unwrap();
    }
    let without_roots = config_error(WachtClient::builder(KEY).build());
    assert_eq!(
        without_roots.kind(),
        ConfigErrorKind::Tls,
        "{without_roots}"
    );
    let said = without_roots.to_string();
    assert!(
        said.contains("`ca-certificates`") && said.contains("`SSL_CERT_FILE`"),
        "{said}"
    );
    assert!(WachtClient::new(KEY).config_error().is_some());
    let own = include_bytes!("../../tests/tls/certificate.pem");
    let with_own = WachtClient::builder(KEY).root_certificates(own).build();
    assert!(with_own.is_ok(), "{with_own:?}");
    let local = WachtClient::builder(KEY)
        .api_url("http://127.0.0.1:1")
        .gateway_url("http://localhost:2")
        .build();
    assert!(local.is_ok(), "{local:?}");
}

#[tokio::test]
async fn a_proxy_for_plain_http_is_not_taken_from_the_environment() {
    use tokio::io::AsyncReadExt;

    if !is_child() {
        let name = "client::tests::a_proxy_for_plain_http_is_not_taken_from_the_environment";
        return in_child(name, "http_proxy", "http://127.0.0.1:1").unwrap();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = WachtClient::builder(KEY)
        .api_url(&url)
        .gateway_url(&url)
        .no_retries()
        .build()
        .unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read(&mut [0; 4096]).await.unwrap()
    });
    let result = client.api_keys().get_api_auth_app("a").send().await;
    assert!(matches!(result, Err(Error::Request(error)) if !error.is_connect()));
    assert_ne!(server.await.unwrap(), 0);
}

// The variables of a process cannot be changed safely while its threads run.
fn in_child(test: &str, variable: &str, value: &str) -> Result<(), String> {
    let child = std::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", test])
        .env_remove("SSL_CERT_FILE")
        .env(variable, value)
        .env(IN_CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let passed = child.status.success() && said.contains("1 passed");
    if passed { Ok(()) } else { Err(said) }
}

fn is_child() -> bool {
    env::var_os(IN_CHILD).is_some()
}

const IN_CHILD: &str = "WACHT_AUTH_TEST_CHILD";
