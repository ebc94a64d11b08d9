//! The caller as an extractor.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::Response;
use http::request::Parts;

use crate::gate::limit::Charge;
use crate::gate::principal::caller::caller;
use crate::gate::principal::{Anonymous, Principal};
use crate::gate::refusal::Rejection;
use crate::log::Notice;

/// For all extractors: they do not know of which route they are.
pub(super) static NO_GATE: Notice = Notice::new();

static NO_CHARGE: Notice = Notice::new();

/// Rejects with 401 where a gate let the request pass anonymously, and with 500 where there is no
/// gate in front.
impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        caller(parts, &NO_GATE)
            .cloned()
            .map_err(|rejection| rejection.answer(parts).map(Into::into))
    }
}

/// `None` where a gate let the request pass anonymously. Without a gate in front it rejects with
/// 500: a forgotten layer must not look like an anonymous caller.
impl<S: Sync> OptionalFromRequestParts<S> for Principal {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Response> {
        if parts.extensions.get::<Anonymous>().is_some() {
            return Ok(None);
        }
        <Self as FromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map(Some)
    }
}

/// Rejects with 500 where no gate in front has [`charge_later`](crate::WachtAuthLayer::charge_later):
/// work that nobody pays for must not go unseen.
impl<S: Sync> FromRequestParts<S> for Charge {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            NO_CHARGE.error_then_debug(
                "no `Charge` in the request: say `charge_later()` on the gate in front of the handler",
                parts,
            );
            Rejection::misconfigured().answer(parts).map(Into::into)
        })
    }
}
