//! The processor time of a process.

use std::fs;
use std::time::Duration;

/// What a process has used so far, in its own code and in the system's; nothing where the system
/// does not tell.
pub(crate) fn time_of(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name comes second and may hold anything; the 14th and the 15th field are what we want.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let in_its_own: u64 = fields.next()?.parse().ok()?;
    let in_the_systems: u64 = fields.next()?.parse().ok()?;
    // Linux tells all programs that a second has 100 ticks.
    Some(Duration::from_millis(10 * (in_its_own + in_the_systems)))
}
