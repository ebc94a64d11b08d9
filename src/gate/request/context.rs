//! What is told of a request beside its key.

use std::net::IpAddr;

use http::Method;

/// Describes a request that did not come over HTTP: what it is about, its method, the caller's
/// address and user agent.
///
/// Endpoint rules are compared with the resource. An app with a rule per address needs
/// [`client_ip`](Self::client_ip): without it such a rule answers
/// [`Misconfigured`](crate::RejectionKind::Misconfigured). All of it stands in Wacht's audit.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthContext {
    pub(crate) method: &'static str,
    pub(crate) resource: String,
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
}

impl AuthContext {
    /// `POST` on `resource`, from nobody in particular.
    ///
    /// `resource` is what endpoint rules are compared with: a path such as `/orders`.
    pub fn new(resource: impl Into<String>) -> Self {
        let mut resource = resource.into();
        if !resource.starts_with('/') {
            resource.insert(0, '/');
        }
        Self {
            method: "POST",
            resource,
            client_ip: None,
            user_agent: None,
        }
    }

    /// The method. One that Wacht does not know is sent as `POST`; it decides nothing.
    pub fn method(mut self, method: &Method) -> Self {
        self.method = match *method {
            Method::GET => "GET",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::HEAD => "HEAD",
            Method::OPTIONS => "OPTIONS",
            _ => "POST",
        };
        self
    }

    /// The address of the caller, which limits per address are counted by.
    pub fn client_ip(mut self, address: IpAddr) -> Self {
        self.client_ip = Some(address);
        self
    }

    /// The caller's user agent, for the audit: its visible ASCII characters, 256 at most.
    pub fn user_agent(mut self, user_agent: &str) -> Self {
        let visible = user_agent
            .chars()
            .filter(|c| matches!(c, ' '..='~'))
            .take(USER_AGENT_MAX)
            .collect();
        self.user_agent = Some(visible);
        self
    }

    /// For a refresh, which no caller should be able to steer.
    pub(crate) fn refresh() -> Self {
        Self::new("/")
    }
}

const USER_AGENT_MAX: usize = 256;
