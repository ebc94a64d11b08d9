//! Where the store is: one server, a cluster, or the master that sentinels know.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, RedisResult,
    TlsCertificates, TlsMode, Value,
};
use rustls::crypto::CryptoProvider;

use crate::client::crypto_provider;

/// Where the store is, and how it is spoken to.
pub(super) enum Server {
    Single(Client),
    Cluster(Box<ClusterClient>),
    Sentinel {
        name: String,
        /// With the credentials of the master, which sentinels do not know.
        sentinels: Vec<ConnectionInfo>,
        login: SentinelLogin,
        certificates: Option<TlsCertificates>,
    },
}

/// Who sentinels are asked as.
#[derive(Clone, Default)]
pub(super) struct SentinelLogin {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// An open connection, to be cloned for each call.
#[derive(Clone)]
pub(super) enum Wire {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Server {
    /// What a URL names.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without repeating any of it.
    pub(super) fn parse(
        url: &str,
        root_certificates: Option<Vec<u8>>,
        login: SentinelLogin,
    ) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or(NO_URL)?;
        if rest.contains(['#', '?']) {
            return Err("the URL of the store has a query or a fragment");
        }
        let (is_tls, form) = match scheme.split_once('+') {
            Some((scheme, form)) => (is_tls(scheme)?, form),
            None => (is_tls(scheme)?, ""),
        };
        if is_tls && !has_crypto_provider() {
            return Err(NO_PROVIDER);
        }
        let has_login = login.user.is_some() || login.password.is_some();
        if has_login && form != "sentinel" {
            return Err("a login of sentinels needs a `redis+sentinel` URL");
        }
        let scheme = if is_tls { "rediss" } else { "redis" };
        if root_certificates.is_some() && !is_tls {
            return Err("root certificates of the store need a `rediss` URL");
        }
        let certificates = root_certificates.map(|pem| TlsCertificates {
            client_tls: None,
            root_cert: Some(pem),
        });
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let nodes = |database: &str| {
            let node = |host| format!("{scheme}://{user}{host}/{database}").into_connection_info();
            let nodes = hosts.split(',').map(node).collect::<RedisResult<Vec<_>>>();
            nodes.map_err(|_| NO_URL)
        };
        match form {
            "" => {
                let mut nodes = nodes(path)?;
                let (Some(node), true) = (nodes.pop(), nodes.is_empty()) else {
                    return Err("the URL of the store names more than one server");
                };
                let client = match certificates {
                    Some(certificates) => Client::build_with_tls(node, certificates),
                    None => Client::open(node),
                };
                client.map(Self::Single).map_err(|_| NO_CERTIFICATES)
            }
            "cluster" => {
                if !path.trim_end_matches('/').is_empty() {
                    return Err("a cluster has one database, of no number");
                }
                let builder = ClusterClient::builder(nodes("")?)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(LONGEST_ANSWER)
                    .overall_response_timeout(Some(LONGEST_ANSWER));
                let builder = match certificates {
                    Some(certificates) => builder.certs(certificates),
                    None => builder,
                };
                let client = builder.build().map_err(|_| NO_URL)?;
                Ok(Self::Cluster(Box::new(client)))
            }
            "sentinel" => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err("the URL of the store names sentinels and no master");
                }
                let (name, sentinels) = (name.to_owned(), nodes(database)?);
                Ok(Self::Sentinel {
                    name,
                    sentinels,
                    login,
                    certificates,
                })
            }
            _ => Err(NO_URL),
        }
    }

    /// A connection that is driven by the runtime on which this is called.
    pub(super) async fn connect(&self) -> RedisResult<Wire> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(LONGEST_ANSWER));
        match self {
            Self::Single(client) => {
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Ok(Wire::Single(connection.await?))
            }
            Self::Cluster(client) => Ok(Wire::Cluster(client.get_async_connection().await?)),
            Self::Sentinel {
                name,
                sentinels,
                login,
                certificates,
            } => {
                let mut client = sentinel_client(name, sentinels, login, certificates.as_ref())?;
                let connection = client.get_async_connection_with_config(&config);
                Ok(Wire::Single(connection.await?))
            }
        }
    }
}

/// The library takes that of the process, and panics where there is none. Who has chosen one meanwhile
/// is as good.
fn has_crypto_provider() -> bool {
    if CryptoProvider::get_default().is_none()
        && let Some(provider) = crypto_provider()
    {
        let _ = CryptoProvider::clone(&provider).install_default();
    }
    CryptoProvider::get_default().is_some()
}

fn sentinel_client(
    name: &str,
    sentinels: &[ConnectionInfo],
    login: &SentinelLogin,
    certificates: Option<&TlsCertificates>,
) -> RedisResult<redis::sentinel::SentinelClient> {
    let addresses = sentinels.iter().map(|sentinel| sentinel.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?;
    let Some(sentinel) = sentinels.first() else {
        return builder.build();
    };
    let redis = sentinel.redis_settings();
    builder = builder.set_client_to_redis_db(redis.db());
    if let Some(user) = redis.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = redis.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &login.user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &login.password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if matches!(sentinel.addr(), redis::ConnectionAddr::TcpTls { .. }) {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
    }
    builder.build()
}

fn is_tls(scheme: &str) -> Result<bool, &'static str> {
    match scheme {
        "redis" | "valkey" => Ok(false),
        "rediss" | "valkeys" => Ok(true),
        _ => Err(NO_URL),
    }
}

impl Wire {
    /// Sends a command. An error that the server answers is one.
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::Single(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        };
        answer.and_then(Value::extract_error)
    }

    /// Whether what is sent after this over the same connection meets the same server. A cluster's
    /// goes to another one after a failover, and nobody is told.
    pub(super) fn has_one_server(&self) -> bool {
        matches!(self, Self::Single(_))
    }
}

const NO_PROVIDER: &str =
    "TLS to the store needs a crypto provider: the feature `tls-aws-lc` or `tls-ring`";
const NO_URL: &str = "the URL of the store is none that names a Redis";
const NO_CERTIFICATES: &str = "the root certificates of the store cannot be read";
/// TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Of what is not given up before: a blocking read.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
