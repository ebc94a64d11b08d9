//! Traps closed before anything is sent: what Wacht accepts and nobody can use, or would refuse.

use crate::client::{Error, Result};

/// What a new app is called in URLs.
pub(super) fn app_slug(slug: &str) -> Result<()> {
    url_name("app_slug", slug)?;
    for reserved in ["aa_", "oauth_"] {
        let number = slug.strip_prefix(reserved).unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            return refuse(format!(
                "app_slug `{slug}`: names of the form `{reserved}<digits>` belong to Wacht itself"
            ));
        }
    }
    Ok(())
}

/// What something new is called in URLs.
pub(super) fn url_name(member: &str, slug: &str) -> Result<()> {
    if slug.trim().is_empty() {
        return refuse(format!("{member} is blank"));
    }
    if matches!(slug, "." | "..") {
        return refuse(format!("{member} `{slug}` cannot stand in a path"));
    }
    if slug.len() > LONGEST_SLUG {
        return refuse(format!("{member} is longer than {LONGEST_SLUG} bytes"));
    }
    if slug.chars().any(char::is_control) {
        return refuse(format!("{member} holds a control character"));
    }
    Ok(())
}

/// What new keys of an app begin with.
pub(super) fn key_prefix(prefix: &str) -> Result<()> {
    if prefix.len() < 2 {
        return refuse(format!(
            "key_prefix `{}` is shorter than 2 bytes: the gateway refuses such keys",
            prefix.escape_debug()
        ));
    }
    if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse(format!(
            "key_prefix `{}` holds white space or another character that is not visible ASCII: \
             such keys do not survive a header",
            prefix.escape_debug()
        ));
    }
    Ok(())
}

/// Names of permissions: each must mean itself when a route requires it.
pub(super) fn permissions(names: &[String]) -> Result<()> {
    names.iter().try_for_each(|name| {
        let problem = if name.trim() != name || name.is_empty() {
            "is empty or has white space around it"
        } else if name.contains([',', '(', ')']) {
            "holds a comma or a parenthesis"
        } else if name.chars().any(char::is_control) {
            "holds a control character"
        } else if matches!(name.as_str(), "true" | "false") {
            "is `true` or `false`"
        } else if name.split(' ').any(|word| matches!(word, "AND" | "OR")) {
            "holds the word AND or OR"
        } else {
            return Ok(());
        };
        refuse(format!(
            "permission `{}` {problem}: it could not be required by that name",
            name.escape_debug()
        ))
    })
}

pub(super) fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::InvalidRequest(message.into()))
}

/// The gate asks for no app of a longer name.
const LONGEST_SLUG: usize = 255;

#[cfg(test)]
mod tests;
