//! What a client does to keys and apps, told to the gates that are built on it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::client::{Error, Result};

/// Something a management call does that a gate must not sleep through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Revokes or rotates the key with this id.
    EndKey(i64),
    /// Deletes or deactivates the app.
    CloseApp(String),
    /// Creates or activates the app.
    OpenApp(String),
    /// Changes the app without ending any key of it.
    ChangeApp(String),
}

/// What became of a deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Definitely nothing happened.
    Nothing,
    /// It may have happened: no answer, or one that says nothing.
    Unknown,
}

/// Whoever wants to know.
pub(crate) trait Listener: Send + Sync {
    /// The call is about to leave. What is returned comes back with the outcome.
    fn begins(&self, deed: &Deed) -> Ticket;

    /// The call has been answered or given up. Never called for one that is dropped on the way.
    fn settled(&self, deed: &Deed, ticket: Ticket, outcome: Outcome);
}

/// Tells one announcement from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RevocationId(pub(crate) u64);

/// Tells one announcement from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// The listeners of a client and all its clones.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<Weak<dyn Listener>>>);

impl Events {
    /// Adds a listener, which is let go of when nobody else holds it.
    pub(crate) fn listen(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(listener);
    }

    /// Makes the call, and tells the listeners before and after it.
    pub(crate) async fn announced<T>(
        &self,
        deed: Deed,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let told: Vec<_> = self
            .listeners()
            .into_iter()
            .map(|listener| {
                let ticket = listener.begins(&deed);
                (listener, ticket)
            })
            .collect();
        let answer = call.await;
        let outcome = outcome(&deed, &answer);
        for (listener, ticket) in told {
            listener.settled(&deed, ticket, outcome);
        }
        answer
    }

    fn listeners(&self) -> Vec<Arc<dyn Listener>> {
        let listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().filter_map(Weak::upgrade).collect()
    }
}

fn outcome<T>(deed: &Deed, answer: &Result<T>) -> Outcome {
    let error = match answer {
        Ok(_) => return Outcome::Done,
        // Refused before anything was sent.
        Err(Error::InvalidRequest(_) | Error::Config(_)) => return Outcome::Nothing,
        Err(error) => error,
    };
    match error.of_management() {
        // "… or already revoked", "… or inactive": somebody else was faster. For a gate that is
        // the same as having done it.
        Some((_, message))
            if matches!(deed, Deed::EndKey(_)) && message.starts_with("API key not found or") =>
        {
            Outcome::Done
        }
        Some((status, _)) if status.is_client_error() => Outcome::Nothing,
        _ => Outcome::Unknown,
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("listeners", &self.listeners().len())
            .finish()
    }
}
