//! All calls there are, those that the second guide lists by the number they have there, over the
//! routes that `docs/management.md` names.

use std::collections::{BTreeMap, BTreeSet};

use wacht_auth::dev::{DevGateway, Journal};
use wacht_auth::models::{
    CheckRequest, CreateApiAuthAppRequest, CreateApiKeyRequest, CreateOAuthAppRequest,
    CreateOAuthClientRequest, CreateRateLimitSchemeRequest, GetApiAuditAnalyticsQuery,
    GetApiAuditTimeseriesQuery, ListApiAuditLogsQuery, OAuthGrantStatus, OAuthScopeCategory,
    RateLimit, RateLimitUnit, RevokeApiKeyRequest, SetOAuthScopeMappingRequest,
    UpdateApiAuthAppRequest, UpdateOAuthAppRequest, UpdateOAuthClientRequest,
    UpdateOAuthScopeRequest, UpdateRateLimitSchemeRequest,
};

/// Sends a call and notes it under its number in the guide, 0 for one that is not listed there.
macro_rules! sent {
    ($seen:ident, $number:literal, $call:expr) => {{
        let answer = $call.send().await;
        let answer = answer.unwrap_or_else(|error| panic!("S22.{}: {error}", $number));
        $seen.note($number, stringify!($call));
        answer
    }};
}

struct Seen {
    journal: Journal,
    documented: BTreeMap<String, String>,
    numbers: BTreeSet<u8>,
    names: BTreeSet<String>,
    routes: Vec<String>,
}

impl Seen {
    fn by(wacht: &DevGateway) -> Self {
        Self {
            journal: wacht.journal(),
            documented: documented(),
            numbers: BTreeSet::new(),
            names: BTreeSet::new(),
            routes: Vec::new(),
        }
    }

    /// Compares the last call that arrived with what the table says about it.
    #[track_caller]
    fn note(&mut self, number: u8, call: &str) {
        let entry = self.journal.entries().pop().unwrap();
        let call: String = call.split_whitespace().collect();
        let (_, shape) = call.split_once("().").unwrap();
        let shape = shape.replace(',', ", ");
        let route = self.documented.get(&shape);
        let route = route.unwrap_or_else(|| panic!("`{shape}` is not in the table"));
        let (method, pattern) = route.split_once(' ').unwrap();
        assert_eq!(entry.method, method, "{shape}");
        assert!(matches(pattern, &entry.path), "{shape}: {}", entry.path);
        assert!(matches!(entry.status, Some(200 | 204)), "{shape}");
        assert!(number == 0 || self.numbers.insert(number), "{number} twice");
        assert!(self.names.insert(shape), "{call} twice");
        self.routes.push(entry.path);
    }
}

/// The tables of `docs/management.md`: call → route.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../../docs/management.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let cell = |at: usize| cells[at].trim_matches(['|', ' ', '`']).to_owned();
        (cell(0), cell(1))
    })
    .collect()
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    let same = |(wanted, found): (&&str, &&str)| wanted.starts_with('{') || wanted == found;
    pattern.len() == path.len() && pattern.iter().zip(&path).all(same)
}

/// S21, the guide's "Validated route domains".
const DOMAINS: [&str; 8] = [
    "/api-auth/apps*",
    "/api-auth/rate-limit-schemes*",
    "/api-auth/apps/{app_slug}/keys*",
    "/api-auth/apps/{app_slug}/audit/*",
    "/oauth/apps*",
    "/oauth/apps/{oauth_app_slug}/scopes*",
    "/oauth/apps/{oauth_app_slug}/clients*",
    "/oauth/apps/{oauth_app_slug}/clients/{oauth_client_id}/grants*",
];

fn in_domain(domain: &str, path: &str) -> bool {
    let domain = domain.trim_end_matches('*').trim_end_matches('/');
    let depth = domain.split('/').count();
    let beginning: Vec<&str> = path.split('/').take(depth).collect();
    matches(domain, &beginning.join("/"))
}

// S22.1 to S22.16
#[tokio::test]
async fn every_call_about_keys_does_its_job_over_the_route_that_is_documented() {
    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let mut seen = Seen::by(&wacht);
    let slug = "gentle";
    let app_slug = "billing";

    let request = CreateRateLimitSchemeRequest {
        slug: slug.to_owned(),
        name: "Gentle".to_owned(),
        description: None,
        rules: vec![RateLimit {
            unit: RateLimitUnit::Minute,
            duration: 1,
            max_requests: 1,
            mode: None,
        }],
    };
    sent!(
        seen,
        11,
        client.api_keys().create_rate_limit_scheme(request)
    );
    let request = UpdateRateLimitSchemeRequest {
        name: Some("Gentler".to_owned()),
        ..Default::default()
    };
    sent!(
        seen,
        12,
        client.api_keys().update_rate_limit_scheme(slug, request)
    );
    let scheme = sent!(seen, 10, client.api_keys().get_rate_limit_scheme(slug));
    assert_eq!((scheme.name.as_str(), scheme.rules.len()), ("Gentler", 1));
    let schemes = sent!(seen, 9, client.api_keys().list_rate_limit_schemes());
    assert_eq!(schemes, [scheme]);

    let request = CreateApiAuthAppRequest {
        app_slug: app_slug.to_owned(),
        name: "Billing".to_owned(),
        key_prefix: "sk_live".to_owned(),
        ..Default::default()
    };
    sent!(seen, 2, client.api_keys().create_api_auth_app(request));
    let request = UpdateApiAuthAppRequest {
        rate_limit_scheme_slug: Some(slug.to_owned()),
        ..Default::default()
    };
    sent!(
        seen,
        3,
        client.api_keys().update_api_auth_app(app_slug, request)
    );
    let apps = sent!(seen, 1, client.api_keys().list_api_auth_apps());
    assert_eq!(apps.len(), 1);
    let app = sent!(seen, 0, client.api_keys().get_api_auth_app(app_slug));
    assert_eq!(apps, [app]);
    assert_eq!(apps[0].rate_limits[0].max_requests, 1);

    let request = CreateApiKeyRequest {
        name: "ci".to_owned(),
        ..Default::default()
    };
    let key = sent!(seen, 6, client.api_keys().create_api_key(app_slug, request));
    for expected in [true, false] {
        let check = CheckRequest::api_key(&key.secret).resource("/invoices");
        let answer = client.gateway().check(check).send().await.unwrap();
        assert_eq!(answer.allowed, expected, "the limit is one a minute");
    }
    let query = ListApiAuditLogsQuery::default();
    let logs = sent!(
        seen,
        14,
        client.api_keys().get_api_audit_logs(app_slug, query)
    );
    let ids: Vec<i64> = logs.items.iter().map(|row| row.key_id).collect();
    assert_eq!(ids, [key.key.id, key.key.id]);
    let query = GetApiAuditAnalyticsQuery::default();
    let sums = sent!(
        seen,
        15,
        client.api_keys().get_api_audit_analytics(app_slug, query)
    );
    assert_eq!((sums.allowed_requests, sums.blocked_requests), (1, 1));
    let query = GetApiAuditTimeseriesQuery::default();
    let series = sent!(
        seen,
        16,
        client.api_keys().get_api_audit_timeseries(app_slug, query)
    );
    let total: i64 = series.points.iter().map(|point| point.total_requests).sum();
    assert_eq!(total, 2);

    let key_id = key.key.id;
    let new = sent!(seen, 8, client.api_keys().rotate_api_key(app_slug, key_id));
    let key_id = &new.key.id.to_string();
    let request = RevokeApiKeyRequest::default();
    sent!(
        seen,
        7,
        client.api_keys().revoke_api_key(app_slug, key_id, request)
    );
    let active = sent!(seen, 5, client.api_keys().list_api_keys(app_slug));
    assert!(active.is_empty(), "one was rotated, the other revoked");

    sent!(seen, 4, client.api_keys().delete_api_auth_app(app_slug));
    sent!(seen, 13, client.api_keys().delete_rate_limit_scheme(slug));
    let gone = client.api_keys().get_api_auth_app(app_slug).send().await;
    assert!(gone.unwrap_err().is_not_found());

    assert!(
        seen.numbers.iter().copied().eq(1..=16),
        "{:?}",
        seen.numbers
    );
    assert_eq!(seen.names.len(), 17);
    assert_domains(&DOMAINS[..4], &seen.routes);
}

// S22.17 to S22.28
#[tokio::test]
async fn every_call_about_oauth_does_its_job_over_the_route_that_is_documented() {
    let wacht = DevGateway::start().await;
    let client = wacht.client();
    let mut seen = Seen::by(&wacht);
    let app_slug = "acme";
    let scope = "orders:read";

    let request = CreateOAuthAppRequest {
        slug: app_slug.to_owned(),
        name: "Acme".to_owned(),
        supported_scopes: Some(vec![scope.to_owned()]),
        ..Default::default()
    };
    sent!(seen, 18, client.oauth().create_oauth_app(request));
    let request = UpdateOAuthScopeRequest {
        display_name: Some("Read orders".to_owned()),
        ..Default::default()
    };
    sent!(
        seen,
        21,
        client.oauth().update_oauth_scope(app_slug, scope, request)
    );
    let request = SetOAuthScopeMappingRequest {
        category: OAuthScopeCategory::Personal,
        ..Default::default()
    };
    sent!(
        seen,
        22,
        client
            .oauth()
            .set_oauth_scope_mapping(app_slug, scope, request)
    );
    let app = sent!(seen, 0, client.oauth().archive_oauth_scope(app_slug, scope));
    assert!(app.scope_definitions[0].archived);
    sent!(
        seen,
        0,
        client.oauth().unarchive_oauth_scope(app_slug, scope)
    );
    let request = UpdateOAuthAppRequest {
        name: Some("Acme v2".to_owned()),
        ..Default::default()
    };
    sent!(seen, 19, client.oauth().update_oauth_app(app_slug, request));
    let domain = sent!(seen, 20, client.oauth().verify_oauth_app_domain(app_slug));
    let apps = sent!(seen, 17, client.oauth().list_oauth_apps());
    assert_eq!(
        (apps[0].name.as_str(), &apps[0].fqdn),
        ("Acme v2", &domain.domain)
    );
    let definition = &apps[0].scope_definitions[0];
    assert_eq!(definition.display_name, "Read orders");
    assert_eq!(definition.category, OAuthScopeCategory::Personal);
    assert!(!definition.archived);

    let request = CreateOAuthClientRequest {
        redirect_uris: vec!["https://partner.example/callback".to_owned()],
        ..Default::default()
    };
    let partner = sent!(
        seen,
        24,
        client.oauth().create_oauth_client(app_slug, request)
    );
    let client_id = &partner.id.to_string();
    let request = UpdateOAuthClientRequest {
        client_name: Some("Partner".to_owned()),
        ..Default::default()
    };
    sent!(
        seen,
        25,
        client
            .oauth()
            .update_oauth_client(app_slug, client_id, request)
    );
    let secret = sent!(
        seen,
        27,
        client
            .oauth()
            .rotate_oauth_client_secret(app_slug, client_id)
    );
    assert_ne!(Some(secret.client_secret), partner.client_secret);

    let token = wacht.issue_token("orders").oauth_client(partner.id);
    let _token = token.scopes([scope]).issue();
    let grants = sent!(
        seen,
        0,
        client.oauth().list_oauth_grants(app_slug, client_id)
    );
    let grant_id = grants[0].id;
    sent!(
        seen,
        28,
        client
            .oauth()
            .revoke_oauth_grant(app_slug, client_id, grant_id)
    );
    let grants = client.oauth().list_oauth_grants(app_slug, client_id);
    let grants = grants.send().await.unwrap();
    assert_eq!(grants[0].status, OAuthGrantStatus::Revoked);

    sent!(
        seen,
        26,
        client.oauth().deactivate_oauth_client(app_slug, client_id)
    );
    let clients = sent!(seen, 23, client.oauth().list_oauth_clients(app_slug));
    assert_eq!(clients[0].client_name.as_deref(), Some("Partner"));
    assert!(!clients[0].is_active);

    assert!(
        seen.numbers.iter().copied().eq(17..=28),
        "{:?}",
        seen.numbers
    );
    assert_eq!(seen.names.len(), 15);
    assert_domains(&DOMAINS[4..], &seen.routes);
}

#[track_caller]
fn assert_domains(domains: &[&str], routes: &[String]) {
    for domain in domains {
        let of_it = routes.iter().filter(|route| in_domain(domain, route));
        assert!(of_it.count() > 0, "no call went to {domain}");
    }
    for route in routes {
        let known = domains.iter().any(|domain| in_domain(domain, route));
        assert!(known, "{route} is in none of {domains:?}");
    }
}

#[test]
fn the_table_names_each_call_once() {
    assert_eq!(documented().len(), 17 + 15);
}
