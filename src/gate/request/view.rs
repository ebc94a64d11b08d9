//! One request as the walk sees it: whatever it says is resolved when it is first needed, and once.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use http::header::USER_AGENT;
use http::request::Parts;
use secrecy::SecretString;
use smallvec::SmallVec;

use crate::clock::{Deadline, Now};
use crate::gate::permission::requirement::Requirement;
use crate::gate::request::client_ip::ClientIp;
use crate::gate::request::context::AuthContext;
use crate::gate::request::credential::{Credential, Decoded, Malformed};
use crate::gate::request::options::RequestOptions;
use crate::gate::request::peer;
use crate::gate::request::resource::normal_form;

/// A request, or a key that came some other way.
pub(crate) struct RequestView<'a> {
    source: Source<'a>,
    options: &'a RequestOptions,
    client_ip: &'a ClientIp,
    resolved: Resolved,
    /// The key, if it does not stand in the request as it is.
    decoded: Decoded,
}

enum Source<'a> {
    Http(&'a mut Parts),
    Detached {
        key: Detached<'a>,
        extensions: &'a mut Extensions,
    },
}

/// A key without a request, as a queue or a websocket brings it.
#[derive(Clone, Copy)]
pub(crate) struct Detached<'a> {
    pub(crate) secret: &'a str,
    pub(crate) context: &'a AuthContext,
}

/// What has been resolved so far. A request that waits takes it along, so that nothing is read,
/// hashed or asked of the user's closures again when it goes on.
#[derive(Clone, Default)]
pub(crate) struct Resolved {
    secret: Option<SecretString>,
    resource: Option<Arc<str>>,
    address: Option<Option<IpAddr>>,
    requirements: Option<Requirements>,
    deadline: Option<Deadline>,
    cost: Option<u32>,
}

/// What [`require_with`](crate::WachtAuthLayer::require_with) asks of one request.
pub(crate) type Requirements = SmallVec<[Arc<Requirement>; 1]>;

impl<'a> RequestView<'a> {
    pub(crate) fn http(
        parts: &'a mut Parts,
        options: &'a RequestOptions,
        client_ip: &'a ClientIp,
        resolved: Resolved,
    ) -> Self {
        Self {
            source: Source::Http(parts),
            options,
            client_ip,
            resolved,
            decoded: None,
        }
    }

    /// The caller is put into `extensions`, as those of a request.
    pub(crate) fn detached(
        key: Detached<'a>,
        extensions: &'a mut Extensions,
        options: &'a RequestOptions,
        client_ip: &'a ClientIp,
    ) -> Self {
        Self {
            source: Source::Detached { key, extensions },
            options,
            client_ip,
            resolved: Resolved::default(),
            decoded: None,
        }
    }

    /// What a request that waits takes along.
    pub(crate) fn resolved(&self) -> Resolved {
        self.resolved.clone()
    }

    pub(crate) fn is_http(&self) -> bool {
        matches!(self.source, Source::Http(_))
    }

    /// Where the caller is put.
    pub(crate) fn extensions(&mut self) -> &mut Extensions {
        match &mut self.source {
            Source::Http(parts) => &mut parts.extensions,
            Source::Detached { extensions, .. } => extensions,
        }
    }

    /// Drops what only a gate may say, takes keys out of the URI, and marks what holds one as
    /// sensitive.
    pub(crate) fn clean(&mut self) {
        if let Source::Http(parts) = &mut self.source {
            self.options.credentials.clean(parts);
        }
    }

    pub(crate) fn is_skipped(&self) -> bool {
        match (&self.options.skip, &self.source) {
            (Some(skip), Source::Http(parts)) => skip(parts),
            _ => false,
        }
    }

    /// The key that the request shows, whatever its form; `None` if it shows none.
    pub(crate) fn credential(&mut self) -> Result<Option<Credential<'_>>, Malformed> {
        match &self.source {
            Source::Http(parts) => self.options.credentials.extract(parts, &mut self.decoded),
            Source::Detached { key, .. } => Ok(Some(Credential(key.secret.as_bytes()))),
        }
    }

    /// Keeps the key itself for a check that this request may need when it goes on.
    pub(crate) fn keep_secret(&mut self) {
        if self.resolved.secret.is_none()
            && let Ok(Some(credential)) = self.credential()
            && let Some(secret) = credential.expose()
        {
            self.resolved.secret = Some(SecretString::from(secret));
        }
    }

    /// The key itself, for a check: not copied for a request that asks nobody.
    pub(crate) fn secret(&mut self) -> Option<SecretString> {
        self.keep_secret();
        self.resolved.secret.clone()
    }

    /// By when the request is answered, counted from when it first had to wait.
    pub(crate) fn deadline(&mut self, now: Now, span: Duration) -> Deadline {
        let deadline = &mut self.resolved.deadline;
        *deadline.get_or_insert_with(|| Deadline::after(now, span))
    }

    /// What this request alone requires.
    pub(crate) fn requirements(&mut self) -> &[Arc<Requirement>] {
        if self.options.require_with.is_empty() {
            return &[];
        }
        let Self {
            source,
            options,
            resolved,
            ..
        } = self;
        resolved
            .requirements
            .get_or_insert_with(|| match source {
                Source::Http(parts) => {
                    let of = options.require_with.iter();
                    of.filter_map(|requirement| requirement(parts)).collect()
                }
                Source::Detached { .. } => Requirements::new(),
            })
            .as_slice()
    }

    /// How many units the request is charged.
    pub(crate) fn cost(&mut self) -> u32 {
        let Some(cost) = &self.options.cost else {
            return 1;
        };
        *self
            .resolved
            .cost
            .get_or_insert_with(|| match &self.source {
                Source::Http(parts) => cost(parts),
                Source::Detached { .. } => 1,
            })
    }

    /// The whole address of the caller, if anything tells it.
    pub(crate) fn address(&mut self) -> Option<IpAddr> {
        let (source, client_ip) = (&mut self.source, self.client_ip);
        *self.resolved.address.get_or_insert_with(|| match source {
            Source::Http(parts) => client_ip.resolve(&parts.headers, &mut parts.extensions),
            Source::Detached { key, .. } => key.context.client_ip,
        })
    }

    /// What this request lets one doubt of whose addresses are believed.
    pub(crate) fn doubt_of_addresses(&self) -> Option<&'static str> {
        match &self.source {
            Source::Http(parts) => self.client_ip.doubt(&parts.headers),
            Source::Detached { .. } => None,
        }
    }

    /// What endpoint rules are compared with, and Wacht's audit shows, in normal form.
    pub(crate) fn resource(&self) -> Cow<'_, str> {
        match (&self.resolved.resource, &self.source) {
            (Some(resource), _) => Cow::Borrowed(resource),
            (None, Source::Http(parts)) => normal_form(match &self.options.resource {
                Some(resource) => rooted(resource(parts)),
                None => rooted(peer::original_path(parts).into()),
            }),
            (None, Source::Detached { key, .. }) => normal_form(&key.context.resource),
        }
    }

    /// What the gateway is told.
    pub(crate) fn context(&mut self) -> AuthContext {
        let address = self.address();
        if let Source::Detached { key, .. } = &self.source {
            return AuthContext {
                resource: self.resource().into_owned(),
                ..key.context.clone()
            };
        }
        // Kept, because the limits will ask for it when the answer has come.
        let resource: Arc<str> = self.resource().into();
        self.resolved.resource = Some(Arc::clone(&resource));
        let mut context = AuthContext::new(&*resource);
        if let Some(address) = address {
            context = context.client_ip(address);
        }
        let Source::Http(parts) = &self.source else {
            return context;
        };
        context = context.method(&parts.method);
        let user_agent = parts.headers.get(USER_AGENT);
        match user_agent.and_then(|value| value.to_str().ok()) {
            Some(user_agent) => context.user_agent(user_agent),
            None => context,
        }
    }

    /// Takes the key out of the request, for an inner service that must not see it.
    pub(crate) fn strip_credential(&mut self) {
        if let Source::Http(parts) = &mut self.source {
            self.options.credentials.strip(parts);
        }
    }
}

/// With the slash that the gateway wants at its beginning.
fn rooted(resource: Cow<'_, str>) -> Cow<'_, str> {
    match resource.starts_with('/') {
        true => resource,
        false => format!("/{resource}").into(),
    }
}
