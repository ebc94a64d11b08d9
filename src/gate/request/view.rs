//! Who is being judged, and what there is to know of them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::request::Parts;
use secrecy::SecretString;

use crate::gate::permission::requirement::Requirement;
use crate::gate::pipeline::Gate;
use crate::gate::request::peer;
use crate::gate::verify::AuthContext;

/// Who is being judged: a request, or a key that came some other way.
pub(crate) enum Asker<'a> {
    Request(&'a mut Parts),
    Bare {
        key: &'a str,
        context: &'a AuthContext,
    },
}

impl Asker<'_> {
    /// The key itself, for a check that is about to leave.
    pub(crate) fn secret(&self, gate: &Gate) -> Option<SecretString> {
        match self {
            Self::Request(parts) => {
                let credential = gate.options.credentials.extract(&parts.headers).ok()??;
                Some(SecretString::from(credential.expose()))
            }
            Self::Bare { key, .. } => Some(SecretString::from(*key)),
        }
    }

    /// What this request alone requires.
    pub(crate) fn requirement(&self, gate: &Gate) -> Option<Arc<Requirement>> {
        match (&gate.options.requirement_of, self) {
            (Some(requirement_of), Self::Request(parts)) => requirement_of(parts),
            _ => None,
        }
    }

    /// What endpoint rules are compared with.
    pub(crate) fn resource(&self, gate: &Gate) -> Cow<'_, str> {
        match self {
            Self::Request(parts) => resource(gate, parts),
            Self::Bare { context, .. } => Cow::Borrowed(context.resource()),
        }
    }

    /// The whole address of the caller, if anything tells it.
    pub(crate) fn address(&mut self, gate: &Gate) -> Option<IpAddr> {
        match self {
            Self::Request(parts) => {
                let Parts {
                    headers,
                    extensions,
                    ..
                } = &mut **parts;
                gate.state.client_ip.resolve(headers, extensions)
            }
            Self::Bare { context, .. } => context.address(),
        }
    }

    /// What the gateway is told.
    pub(crate) fn context(&mut self, gate: &Gate) -> AuthContext {
        let address = self.address(gate);
        let parts = match self {
            Self::Bare { context, .. } => return (*context).clone(),
            Self::Request(parts) => &**parts,
        };
        let mut context = AuthContext::new(resource(gate, parts)).method(&parts.method);
        if let Some(address) = address {
            context = context.client_ip(address);
        }
        let user_agent = parts.headers.get(USER_AGENT);
        if let Some(user_agent) = user_agent.and_then(|value| value.to_str().ok()) {
            context = context.user_agent(user_agent);
        }
        context
    }
}

fn resource<'a>(gate: &Gate, parts: &'a Parts) -> Cow<'a, str> {
    match &gate.options.resource {
        Some(resource) => resource(parts),
        None => Cow::Borrowed(peer::original_path(parts)),
    }
}
