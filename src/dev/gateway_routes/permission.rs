//! Required permissions as the gateway reads them, oddities included.

/// Whether the held permissions satisfy the list, which the gateway joins into one expression.
///
/// One entry without operators is a comma-separated list, all of which must be held. Anything
/// else is an expression in which commas are literal and a parenthesised group turns into the
/// *word* `true` or `false`, looked up like any other permission.
pub(super) fn satisfied(held: &[String], required: &[String]) -> bool {
    let entries: Vec<&str> = required
        .iter()
        .map(|entry| entry.trim())
        .filter(|entry| !entry.is_empty())
        .collect();
    let expression = entries.join(AND);
    if expression.contains(AND) || expression.contains(OR) {
        return evaluate(held, expression);
    }
    expression
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .all(|name| holds(held, name))
}

fn evaluate(held: &[String], mut expression: String) -> bool {
    while let Some((open, close)) = first_group(&expression) {
        let inside = expression.get(open + 1..close).unwrap_or_default();
        let value = evaluate(held, inside.to_owned());
        if open == 0 && close + 1 == expression.len() {
            return value;
        }
        expression.replace_range(open..=close, if value { "true" } else { "false" });
    }
    expression
        .split(OR)
        .any(|part| part.split(AND).all(|name| holds(held, name.trim())))
}

/// Where the first outermost balanced group opens and closes.
fn first_group(expression: &str) -> Option<(usize, usize)> {
    let open = expression.find('(')?;
    let mut depth = 0_usize;
    for (at, byte) in expression.bytes().enumerate().skip(open) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((open, at));
        }
    }
    None
}

fn holds(held: &[String], name: &str) -> bool {
    held.iter().any(|permission| permission == name)
}

const AND: &str = " AND ";
const OR: &str = " OR ";

#[cfg(test)]
mod tests {
    use super::satisfied;

    fn check(held: &[&str], required: &[&str]) -> bool {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        satisfied(&owned(held), &owned(required))
    }

    #[test]
    fn plain_lists_need_every_permission() {
        assert!(check(&["a", "b"], &["a", "b"]));
        assert!(check(&[], &["", "  "]));
        assert!(!check(&["a"], &["a", "b"]));
        assert!(!check(&["a"], &["A"]));
    }

    #[test]
    fn commas_mean_and_in_a_single_entry_only() {
        assert!(check(&["a", "b"], &["a,b"]));
        assert!(check(&[], &[" , ,"]));
        assert!(!check(&["a", "b", "c"], &["a,b", "c"]));
    }

    #[test]
    fn and_binds_tighter_than_or_even_across_entries() {
        assert!(check(&["a"], &["a OR b"]));
        assert!(check(&["a"], &["a OR b", "c"]));
        assert!(!check(&["c"], &["a OR b", "c"]));
    }

    #[test]
    fn a_group_becomes_a_word_unless_it_is_everything() {
        assert!(check(&["a"], &["(a OR b)"]));
        assert!(!check(&["a", "c"], &["(a OR b)", "c"]));
        assert!(check(&["a", "c", "true"], &["c", "(a OR b)"]));
        assert!(check(&["false"], &["(a AND b) OR c"]));
        assert!(!check(&["a"], &["(a)"]));
        assert!(
            !check(&["a"], &["(a OR b"]),
            "an unbalanced group is part of a name"
        );
    }
}
