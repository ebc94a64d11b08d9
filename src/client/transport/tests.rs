//! What a client can be pointed at.

use std::time::Duration;

use super::*;

#[test]
fn plain_http_is_for_loopback_unless_allowed() {
    for url in [
        "http://127.0.0.1:3000",
        "http://127.9.9.9",
        "http://localhost/",
        "http://LOCALHOST:1",
        "http://[::1]:3000",
        "http://[::ffff:127.0.0.1]",
        "https://example.com/prefix//",
    ] {
        assert!(check_url("url", url, false).is_ok(), "{url}");
    }
    for url in [
        "http://example.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://[fe80::1]",
    ] {
        let refused = check_url("url", url, false).unwrap_err();
        assert_eq!(refused.kind(), ConfigErrorKind::Plaintext, "{url}");
        assert!(check_url("url", url, true).is_ok(), "{url}");
    }
}

#[test]
fn urls_with_more_than_a_place_are_refused_without_repeating_them() {
    for url in [
        "https://user:hunter2@example.com",
        "https://hunter2@example.com",
        "https://example.com?token=hunter2",
        "https://example.com?",
        "https://example.com#hunter2",
        "ftp://hunter2.example.com",
        "hunter2.example.com",
        "data:hunter2",
        "",
    ] {
        let error = check_url("api_url", url, true).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Url, "{url}");
        let message = error.to_string();
        assert!(message.starts_with("api_url "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn trailing_slashes_of_a_base_do_not_matter() {
    for base in [
        "https://h.example/p",
        "https://h.example/p/",
        "https://h.example/p//",
    ] {
        let base = check_url("url", base, false).unwrap();
        assert_eq!(join(&base, "/x").unwrap().as_str(), "https://h.example/p/x");
    }
    let base = check_url("url", "https://h.example", false).unwrap();
    assert_eq!(join(&base, "/x").unwrap().as_str(), "https://h.example/x");
}

#[test]
fn a_proxy_of_the_environment_must_be_usable() {
    let with = |name: &'static str, value: &'static str| {
        environment_proxy(&move |asked| (asked == name).then(|| value.into()))
    };
    assert!(
        with("HTTP_PROXY", "http://proxy.example")
            .unwrap()
            .is_none()
    );
    assert!(with("HTTPS_PROXY", "").unwrap().is_none());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        assert!(
            with(name, "proxy.example:3128").unwrap().is_some(),
            "{name}"
        );
    }
    let error = with("HTTPS_PROXY", "http://hunter2@:::").unwrap_err();
    assert_eq!(error.kind(), ConfigErrorKind::Url);
    assert_eq!(
        error.to_string(),
        "HTTPS_PROXY is not a URL, such as http://proxy.internal:3128"
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let build = |change: fn(&mut Config)| {
        let mut config = Config::new("sk_0".to_owned());
        config.api_url = "http://127.0.0.1".to_owned();
        config.gateway_url = "http://127.0.0.1".to_owned();
        change(&mut config);
        Transport::new(&config, &|_| None).map(|_| ())
    };
    use ConfigErrorKind::{ManagementKey, Setting, Url};

    assert_eq!(build(|_| ()), Ok(()));
    let changes: [(fn(&mut Config), _); 7] = [
        (|config| config.pool_idle_timeout = Duration::ZERO, Setting),
        (|config| config.answer_limit = 0, Setting),
        (|config| config.timeout = Duration::ZERO, Setting),
        (|config| config.connect_timeout = Duration::ZERO, Setting),
        (
            |config| config.user_agent = "line\nbreak".to_owned(),
            Setting,
        ),
        (|config| config.proxy = Some("http://:::".to_owned()), Url),
        (|config| config.api_key = "".into(), ManagementKey),
    ];
    for (change, kind) in changes {
        assert_eq!(build(change).unwrap_err().kind(), kind);
    }
}

#[test]
fn where_a_service_is_shows_without_path_or_password() {
    for (url, shown) in [
        ("https://h.example/api/", "https://h.example"),
        ("http://[::1]:3000/x?y=hunter2", "http://[::1]:3000"),
        (
            "http://me:hunter2@proxy.example:3128",
            "http://proxy.example:3128",
        ),
        ("me:hunter2@proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        (
            "socks5://me:hunter2@proxy.example:1080",
            "socks5://proxy.example:1080",
        ),
        (":::", "that is no URL"),
    ] {
        assert_eq!(origin(url), shown);
    }
}

#[tokio::test]
async fn who_cannot_connect_is_told_where_to_and_through_what() {
    let mut config = Config::new("sk_0".to_owned());
    config.api_url = "https://wacht.invalid/api".to_owned();
    config.gateway_url = "http://127.0.0.1:1".to_owned();
    config.retries = RetryPolicy::none();
    let proxied =
        |name: &str| (name == "HTTPS_PROXY").then(|| "http://me:hunter2@127.0.0.1:1".into());
    let transport = Transport::new(&config, &proxied).unwrap();
    let request = Request {
        method: Method::GET,
        path: "/apps".to_owned(),
        template: "/apps".to_owned(),
        query: Vec::new(),
        payload: Payload::None,
        answer_limit: None,
    };
    let error = transport.manage(&request, true, None).await.unwrap_err();
    let text = error.to_string();
    let expected = "could not connect to the Wacht management API at https://wacht.invalid \
        (HTTPS_PROXY is set, to the proxy http://127.0.0.1:1): ";
    assert!(text.starts_with(expected), "{text}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
