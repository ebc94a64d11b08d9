//! What this shows: the life of an API key, from the scheme that limits it to its end, by the
//! calls of the management API; and a gate that hears of each at once.
//!
//! ```sh
//! cargo run --example manage_keys                  # against a dev gateway
//! cargo run --example manage_keys -- --self-test   # the same, whatever the environment says
//! WACHT_API_KEY=wk_... cargo run --example manage_keys   # against the real Wacht
//! ```
//!
//! Without `WACHT_API_KEY`, and with `--self-test`, nothing leaves this machine, and the example
//! fails if anything came otherwise than it has to. With the real Wacht it says what it is about to
//! make in your deployment, and deletes that again.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use wacht_auth::dev::DevGateway;
use wacht_auth::models::{
    ApiKey, AuditLog, AuditOutcome, CreateApiAuthAppRequest, CreateApiKeyRequest,
    CreateRateLimitSchemeRequest, ListApiAuditLogsQuery, RateLimit, RateLimitMode, RateLimitUnit,
    RevokeApiKeyRequest,
};
use wacht_auth::{AuthContext, AuthHandle, WachtAuthLayer, WachtClient};

// --- the calls ---

/// What to call the scheme and the app.
struct Names {
    scheme: String,
    app: String,
}

/// What is to be seen when it is over.
#[derive(Default)]
struct Seen {
    /// What happened, and whether the gate lets the key of that moment pass.
    passes: Vec<(&'static str, bool)>,
    keys: Vec<ApiKey>,
    audit: Vec<AuditLog>,
}

async fn make_scheme(client: &WachtClient, names: &Names) -> Result<(), wacht_auth::Error> {
    let limit = RateLimit {
        unit: RateLimitUnit::Minute,
        duration: 1,
        max_requests: 100,
        mode: Some(RateLimitMode::PerKey),
    };
    let scheme = CreateRateLimitSchemeRequest {
        slug: names.scheme.clone(),
        name: "Example scheme".to_owned(),
        description: Some("Made by an example".to_owned()),
        rules: vec![limit],
    };
    let call = client.api_keys().create_rate_limit_scheme(scheme);
    call.send().await.map(drop)
}

async fn make_app(client: &WachtClient, names: &Names) -> Result<(), wacht_auth::Error> {
    let app = CreateApiAuthAppRequest {
        app_slug: names.app.clone(),
        name: "Example app".to_owned(),
        key_prefix: "sk_example".to_owned(),
        description: Some("Made by an example".to_owned()),
        rate_limit_scheme_slug: Some(names.scheme.clone()),
    };
    let call = client.api_keys().create_api_auth_app(app);
    call.send().await.map(drop)
}

async fn live(client: &WachtClient, app: &str) -> Result<Seen, wacht_auth::Error> {
    let keys = client.api_keys();
    let gate = WachtAuthLayer::new(client.clone()).app(app).handle();
    let mut seen = Seen::default();

    let request = CreateApiKeyRequest {
        name: "ci".to_owned(),
        permissions: Some(vec!["orders:read".to_owned()]),
        ..Default::default()
    };
    let first = keys.create_api_key(app, request).send().await?;
    seen.passes
        .push(("created", passes(&gate, &first.secret).await));

    let second = keys.rotate_api_key(app, first.key.id).send().await?;
    seen.passes
        .push(("rotated, the old one", passes(&gate, &first.secret).await));
    seen.passes
        .push(("rotated, the new one", passes(&gate, &second.secret).await));

    let why = RevokeApiKeyRequest {
        reason: Some("The example is over".to_owned()),
    };
    keys.revoke_api_key(app, second.key.id, why).send().await?;
    seen.passes
        .push(("revoked", passes(&gate, &second.secret).await));

    seen.keys = keys
        .list_api_keys(app)
        .include_inactive(true)
        .send()
        .await?;
    let all = ListApiAuditLogsQuery::default();
    seen.audit = keys.get_api_audit_logs(app, all).send().await?.items;
    Ok(seen)
}

async fn passes(gate: &AuthHandle, secret: &str) -> bool {
    let context = AuthContext::new("/orders");
    gate.authenticate_key(secret, &context).await.is_ok()
}

// --- what came of them ---

fn print(seen: &Seen) {
    println!("{:<24} PASSES THE GATE", "KEY");
    for (what, passes) in &seen.passes {
        println!("{what:<24} {}", yes(*passes));
    }
    println!(
        "\n{:<24} {:<22} {:<7} REVOKED BECAUSE",
        "ID", "KEY", "ACTIVE"
    );
    for key in &seen.keys {
        let shown = format!("{}…{}", key.key_prefix, key.key_suffix);
        let why = key.revoked_reason.as_deref().unwrap_or("-");
        println!("{:<24} {shown:<22} {:<7} {why}", key.id, yes(key.is_active));
    }
    println!("\n{:<24} {:<22} {:<7} KEY", "CHECKED", "REQUEST", "PASSED");
    for row in &seen.audit {
        let when = row.timestamp.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        let passed = yes(row.outcome == AuditOutcome::Allowed);
        println!("{when:<24} {:<22} {passed:<7} {}", row.path, row.key_id);
    }
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

/// What did not come as it has to at a dev gateway.
fn complaints(seen: &Seen) -> Vec<String> {
    let reasons: Vec<_> = seen
        .keys
        .iter()
        .map(|key| key.revoked_reason.as_deref())
        .collect();
    let checked: Vec<_> = seen.audit.iter().map(|row| row.path.as_str()).collect();
    let passes: Vec<_> = seen.passes.iter().map(|(_, passes)| *passes).collect();
    let mut complaints = Vec::new();
    if passes != [true, false, true, false] {
        complaints.push(format!("keys passed the gate as {passes:?}"));
    }
    if reasons != [Some("The example is over"), Some("Rotated")] {
        complaints.push(format!("keys ended as {reasons:?}"));
    }
    // One for each of the two keys: what was revoked here is not asked about until no cache can hold a
    // yes any more, which is some minutes.
    if checked != ["POST /orders", "POST /orders"] {
        complaints.push(format!("the audit shows {checked:?}"));
    }
    complaints
}

// --- against the dev gateway, or against Wacht ---

/// Makes it all, watches it, and deletes what was made, also when something fails on the way.
async fn run(client: &WachtClient, names: &Names) -> Result<Seen, wacht_auth::Error> {
    let keys = client.api_keys();
    make_scheme(client, names).await?;
    let seen = match make_app(client, names).await {
        Ok(()) => {
            let seen = live(client, &names.app).await;
            let deleted = keys.delete_api_auth_app(&names.app).send().await;
            seen.and_then(|seen| deleted.map(|()| seen))
        }
        Err(error) => Err(error),
    };
    let deleted = keys.delete_rate_limit_scheme(&names.scheme).send().await;
    seen.and_then(|seen| deleted.map(|()| seen))
}

async fn with_dev_gateway() -> Result<ExitCode, Box<dyn Error>> {
    let wacht = DevGateway::start().await;
    let names = Names {
        scheme: "example-limits".to_owned(),
        app: "example".to_owned(),
    };
    let client = wacht.client();
    let seen = run(&client, &names).await?;
    print(&seen);
    let mut complaints = complaints(&seen);
    if !client
        .api_keys()
        .list_api_auth_apps()
        .send()
        .await?
        .is_empty()
    {
        complaints.push("the app is still there".to_owned());
    }
    for complaint in &complaints {
        println!("not so: {complaint}");
    }
    Ok(match complaints.as_slice() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn with_wacht() -> Result<ExitCode, Box<dyn Error>> {
    let client = WachtClient::from_env()?;
    let number = std::process::id();
    let names = Names {
        scheme: format!("wacht-auth-example-{number}-limits"),
        app: format!("wacht-auth-example-{number}"),
    };
    let Names { scheme, app } = &names;
    println!("Making in your deployment, and deleting in the end:");
    println!("  the rate-limit scheme {scheme}");
    println!("  the API auth app {app}, with a key that is rotated once\n");
    // The audit is written a little after the fact, so its newest rows may be missing.
    print(&run(&client, &names).await?);
    Ok(ExitCode::SUCCESS)
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let self_test = env::args().any(|argument| argument == "--self-test");
    let outcome = match env::var_os("WACHT_API_KEY") {
        Some(_) if !self_test => with_wacht().await,
        _ => with_dev_gateway().await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
