//! The rules of apps, each list kept once.

use std::collections::HashSet;
use std::hash::Hash;
use std::hash::Hasher;
use std::mem;
use std::sync::Arc;

use crate::log::Notice;
use crate::models::RateLimitRule;

/// The rules of a rate-limit scheme, shared by all apps that have the same.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) scheme: Option<Box<str>>,
    pub(super) list: Box<[RateLimitRule]>,
    /// That they cannot be counted here.
    pub(super) uncountable: Notice,
}

/// Every list of rules that some app has.
#[derive(Default)]
pub(super) struct RuleLists {
    lists: HashSet<Arc<Rules>>,
    bytes: usize,
}

impl RuleLists {
    /// The list that is equal to this one, kept from now on if it is the first.
    pub(super) fn shared(
        &mut self,
        scheme: Option<String>,
        list: Vec<RateLimitRule>,
    ) -> Arc<Rules> {
        let rules = Rules {
            scheme: scheme.map(String::into_boxed_str),
            list: list.into_boxed_slice(),
            uncountable: Notice::default(),
        };
        if let Some(known) = self.lists.get(&rules) {
            return Arc::clone(known);
        }
        let rules = Arc::new(rules);
        self.bytes += rules.weight();
        self.lists.insert(Arc::clone(&rules));
        rules
    }

    /// About how many bytes all lists take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the lists that no app has any more.
    pub(super) fn sweep(&mut self) {
        self.lists.retain(|rules| Arc::strong_count(rules) > 1);
        self.bytes = self.lists.iter().map(|rules| rules.weight()).sum();
    }
}

impl Rules {
    fn weight(&self) -> usize {
        // The list, its place in the set and what the allocator adds.
        const FIXED: usize = mem::size_of::<Rules>() + 64;
        let endpoints = |rule: &RateLimitRule| -> usize {
            let endpoints = rule.endpoints.iter().flatten();
            endpoints
                .map(|e| mem::size_of::<String>() + 16 + e.len())
                .sum()
        };
        let list = self.list.iter();
        let list: usize = list
            .map(|rule| mem::size_of::<RateLimitRule>() + endpoints(rule))
            .sum();
        FIXED + self.scheme.as_ref().map_or(0, |scheme| 16 + scheme.len()) + list
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.list == other.list
    }
}

impl Eq for Rules {}

impl Hash for Rules {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scheme.hash(state);
        self.list.hash(state);
    }
}
