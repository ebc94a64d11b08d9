//! Members that a request changes when it names them.

pub(super) fn set<T>(member: &mut T, update: Option<T>) {
    if let Some(update) = update {
        *member = update;
    }
}

pub(super) fn set_some<T>(member: &mut Option<T>, update: Option<T>) {
    if update.is_some() {
        *member = update;
    }
}
