//! What the calls of the management API have in common.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Page;
use super::named::Named;
use crate::client::{Error, Form, Payload, Request, Result, WachtClient, decode, path, template};

/// One call on its way: built in one expression, sent by its last method.
///
/// What is wrong with it is kept until then, so that it is an error of sending.
#[must_use = "a call does nothing until it is sent"]
pub(crate) struct Call<'c> {
    client: &'c WachtClient,
    request: Result<Request>,
    repeat: bool,
    limit: Option<Duration>,
}

impl<'c> Call<'c> {
    /// A call that only reads, and may therefore be repeated.
    pub(crate) fn get(client: &'c WachtClient, segments: &[&str]) -> Self {
        Self::new(client, Method::GET, segments).repeatable()
    }

    pub(crate) fn post(client: &'c WachtClient, segments: &[&str]) -> Self {
        Self::new(client, Method::POST, segments)
    }

    pub(crate) fn patch(client: &'c WachtClient, segments: &[&str]) -> Self {
        Self::new(client, Method::PATCH, segments)
    }

    pub(crate) fn delete(client: &'c WachtClient, segments: &[&str]) -> Self {
        Self::new(client, Method::DELETE, segments)
    }

    fn new(client: &'c WachtClient, method: Method, segments: &[&str]) -> Self {
        let request = path(segments).map(|path| Request {
            method,
            path,
            template: template(segments),
            query: Vec::new(),
            payload: Payload::None,
            answer_limit: None,
        });
        Self {
            client,
            request,
            repeat: false,
            limit: None,
        }
    }

    /// Adds a parameter to the query, if there is a value.
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl fmt::Display>) -> Self {
        if let (Ok(request), Some(value)) = (&mut self.request, value) {
            request.query.push((name, value.to_string()));
        }
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        if let Ok(request) = &mut self.request {
            match serde_json::to_vec(body) {
                Ok(body) => request.payload = Payload::Json(body.into()),
                Err(error) => {
                    let message = format!("the request makes no JSON: {error}");
                    self.request = Err(Error::InvalidRequest(message));
                }
            }
        }
        self
    }

    pub(crate) fn form(mut self, form: Form) -> Self {
        if let Ok(request) = &mut self.request {
            request.payload = Payload::Multipart(form);
        }
        self
    }

    /// Making the call twice changes nothing and answers the same.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// Makes the call once, whatever the client's policy says.
    pub(crate) fn without_retries(mut self, without: bool) -> Self {
        self.repeat &= !without;
        self
    }

    /// Waits no longer than this for each answer, if that is shorter than the client's time-out.
    ///
    /// Whoever stops waiting by other means keeps from the client what it learns by a time-out:
    /// that its connections may be dead.
    pub(crate) fn within(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// Reads so many bytes of a good answer, in place of what is read of any other.
    pub(crate) fn answer_limit(mut self, bytes: Option<usize>) -> Self {
        if let Ok(request) = &mut self.request {
            request.answer_limit = bytes;
        }
        self
    }

    /// Sends the call and decodes the answer, an object of which `what` is the name in messages.
    pub(crate) async fn object<T: DeserializeOwned>(self, what: &'static str) -> Result<T> {
        let Named(object) = decode(what, &self.bytes().await?)?;
        Ok(object)
    }

    /// Sends the call and decodes a list, which stands under `data` or one of `names`.
    pub(crate) async fn page<T: DeserializeOwned>(
        self,
        what: &'static str,
        names: &[&str],
    ) -> Result<Page<T>> {
        Page::decode(what, names, &self.bytes().await?)
    }

    /// Sends the call, of whose answer only the status says something.
    pub(crate) async fn done(self) -> Result<()> {
        self.bytes().await.map(drop)
    }

    /// Sends the call.
    pub(crate) async fn bytes(self) -> Result<Bytes> {
        let transport = self.client.transport()?;
        transport
            .manage(&self.request?, self.repeat, self.limit)
            .await
    }
}
