//! One question to the gateway.

use secrecy::{ExposeSecret, SecretString};

use crate::api::gateway::CheckRequest;
use crate::gate::directory::AcceptedApps;
use crate::gate::limit::LookupSource;
use crate::gate::request::context::AuthContext;
use crate::gate::verdict::{PrincipalKind, VerdictKey};

const RESOURCE_MAX: usize = 2048;

/// One key to ask about. Holds the key itself, for as long as the check is in flight.
pub(crate) struct Check {
    pub(crate) key: VerdictKey,
    pub(crate) secret: SecretString,
    pub(crate) context: AuthContext,
    pub(crate) required_permissions: Vec<String>,
    pub(crate) seen_good: bool,
    /// The apps whose keys are let in where it was shown. Of the others nothing is looked up.
    pub(crate) accepted: AcceptedApps,
    /// Who pays if it fails.
    pub(crate) charged_to: Option<LookupSource>,
}

impl Check {
    /// A check in the background, of which the caller decides nothing but the key.
    pub(crate) fn refresh(key: VerdictKey, secret: SecretString, accepted: AcceptedApps) -> Self {
        Self {
            key,
            secret,
            context: AuthContext::refresh(),
            required_permissions: Vec::new(),
            seen_good: true,
            accepted,
            charged_to: None,
        }
    }

    pub(super) fn request(&self) -> CheckRequest {
        let secret = self.secret.expose_secret();
        let mut request = match self.key.kind {
            PrincipalKind::ApiKey => CheckRequest::api_key(secret),
            PrincipalKind::OauthAccessToken => CheckRequest::oauth_access_token(secret),
        };
        let context = &self.context;
        // The gateway refuses bodies over 2 MiB; nothing a caller sends may come near that.
        let mut end = context.resource.len().min(RESOURCE_MAX);
        while !context.resource.is_char_boundary(end) {
            end -= 1;
        }
        request = request
            .method(context.method)
            .resource(&context.resource[..end]);
        if let Some(address) = context.client_ip {
            request = request.client_ip(address);
        }
        if let Some(user_agent) = &context.user_agent {
            request = request.user_agent(user_agent.as_str());
        }
        if !self.required_permissions.is_empty() {
            request = request.required_permissions(&self.required_permissions);
        }
        request
    }
}
