//! How a request is read: where its key is, and what users' closures say of it.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;

use crate::gate::permission::requirement::Requirement;
use crate::gate::request::credential::Credentials;

/// The options that say how a request is read. Each closure is called at most once per request.
#[derive(Clone, Default)]
pub(crate) struct RequestOptions {
    pub(crate) credentials: Credentials,
    pub(crate) skip: Option<Predicate>,
    pub(crate) resource: Option<Resource>,
    /// All of them apply.
    pub(crate) require_with: Vec<RequirementOf>,
    /// Without it, one unit.
    pub(crate) cost: Option<Cost>,
}

pub(crate) type Predicate = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;
pub(crate) type Resource = Arc<dyn for<'a> Fn(&'a Parts) -> Cow<'a, str> + Send + Sync>;
pub(crate) type RequirementOf = Arc<dyn Fn(&Parts) -> Option<Arc<Requirement>> + Send + Sync>;
pub(crate) type Cost = Arc<dyn Fn(&Parts) -> u32 + Send + Sync>;
