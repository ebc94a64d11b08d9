pub(crate) mod limit;
