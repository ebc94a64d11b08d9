//! The processes of a run, and how they talk: one line of JSON is an order, one the answer.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Wacht,
    Server,
    Load,
    Cold,
    Burst,
}

impl Role {
    const ALL: [Self; 5] = [
        Self::Wacht,
        Self::Server,
        Self::Load,
        Self::Cold,
        Self::Burst,
    ];

    /// None for the process that a person has started.
    pub(crate) fn of_this_process() -> Option<Self> {
        let argument = env::args().nth(1)?;
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.argument() == argument)
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Wacht => "--role=wacht",
            Self::Server => "--role=server",
            Self::Load => "--role=load",
            Self::Cold => "--role=cold",
            Self::Burst => "--role=burst",
        }
    }
}

/// Another process of this executable. It ends with this value.
#[derive(Debug)]
pub(crate) struct Process {
    role: Role,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: Role) -> Result<Self> {
        Self::start_of(&env::current_exe()?, role)
    }

    pub(crate) fn start_of(program: &Path, role: Role) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(role.argument())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, answers) = pipes.ok_or("a process was started without its pipes")?;
        Ok(Self {
            role,
            child,
            orders,
            answers: BufReader::new(answers),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<A> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        self.orders.write_all(line.as_bytes())?;
        line.clear();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{:?} is gone", self.role).into());
        }
        let answer: Result<A, String> = serde_json::from_str(&line)?;
        answer.map_err(|error| format!("{:?}: {error}", self.role).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It holds nothing that has to be put away, and may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process does for its life: answers orders until nobody is left to give any.
pub(crate) fn answer_orders<Q, A>(mut answer: impl FnMut(Q) -> Result<A>) -> Result<()>
where
    Q: DeserializeOwned,
    A: Serialize,
{
    for order in stdin().lines() {
        let answer = answer(serde_json::from_str(&order?)?);
        let answer = answer.map_err(|error| error.to_string());
        let mut stdout = stdout().lock();
        serde_json::to_writer(&mut stdout, &answer)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}
