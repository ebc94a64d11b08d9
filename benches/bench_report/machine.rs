//! What the figures were measured on and with.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use super::figures::Result;

pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// Crates and their versions.
    pub(crate) crates: Vec<(&'static str, String)>,
}

const CRATES: [&str; 6] = ["moka", "governor", "http", "sha2", "axum", "tonic"];

impl Machine {
    pub(crate) fn this_one(root: &Path) -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let rustc = Command::new(rustc).arg("-V").output()?;
        let lock = fs::read_to_string(root.join("Cargo.lock"))?;
        let crates = CRATES.map(|name| {
            let version = newest(&lock, name);
            version.map(|version| (name, version))
        });
        Ok(Self {
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            cores: thread::available_parallelism()?.get(),
            kernel: format!("Linux {}", kernel.trim()),
            rustc: String::from_utf8(rustc.stdout)?.trim().to_owned(),
            crates: crates.into_iter().collect::<Result<_>>()?,
        })
    }
}

/// The last entry of a crate in the lock file, which is sorted by name and version.
fn newest(lock: &str, name: &str) -> Result<String> {
    let head = format!("[[package]]\nname = \"{name}\"\nversion = \"");
    let entry = lock.rsplit_once(&head).map(|(_, entry)| entry);
    let version = entry.and_then(|entry| entry.split_once('"'));
    let (version, _) = version.ok_or_else(|| format!("Cargo.lock has no {name}"))?;
    Ok(version.to_owned())
}
