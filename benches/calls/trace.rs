//! This program again, under valgrind's `lackey`, which writes down all its accesses to memory.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader, stdin};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use super::{Touch, Touched};

const LINE: u64 = 64;
/// An allocation begins at a multiple of this, and a line holds four.
const STEP: u64 = 16;
/// What is no farther than this from a variable of `main` is on the stack.
const STACK: u64 = 1 << 20;

pub(crate) struct Traced {
    pub(crate) calls: Vec<Touched>,
    pub(crate) places: Places,
}

/// Where things are in the process that is traced.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    mark: u64,
    stack: u64,
    program: u64,
    program_end: u64,
}

/// The first and the last thing a watched call does: the trace shows that this ran.
#[inline(never)]
pub(crate) fn mark() {
    black_box(());
}

/// What the traced process does first: says where things are, and waits until that was read.
pub(crate) fn answer_where() {
    let here = 0_u8;
    let maps = fs::read_to_string("/proc/self/maps").expect("a system with /proc");
    let path = env::current_exe().unwrap();
    // The start and the end of all that is mapped from the program.
    let mapped: Vec<u64> = maps
        .lines()
        .filter(|line| line.ends_with(path.to_str().unwrap()))
        .flat_map(|line| line.split(' ').next().unwrap().split('-'))
        .map(|address| u64::from_str_radix(address, 16).unwrap())
        .collect();
    let (program, end) = (mapped[0], mapped[mapped.len() - 1]);
    let stack = black_box(&raw const here).addr();
    println!("{} {stack} {program} {end}", (mark as *const ()).addr());
    stdin().read_line(&mut String::new()).unwrap();
}

/// Runs this program, with this variable set, and returns what its calls touch between marks.
pub(crate) fn trace(variable: &str) -> Traced {
    let mut child = Command::new("valgrind")
        .args(["--tool=lackey", "--trace-mem=yes", "--basic-counts=no"])
        .arg(env::current_exe().unwrap())
        .env(variable, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind runs: is it installed?");
    let trace = BufReader::with_capacity(1 << 20, child.stderr.take().unwrap());
    let places = OnceLock::new();
    let calls = thread::scope(|scope| {
        let reader = scope.spawn(|| read(trace, &places));
        places.set(ask_where(&mut child)).ok();
        // That is what it waits for.
        drop(child.stdin.take());
        reader.join().unwrap()
    });
    assert!(child.wait().unwrap().success(), "the traced program failed");
    Traced {
        calls,
        places: *places.get().unwrap(),
    }
}

fn ask_where(child: &mut Child) -> Places {
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    let numbers: Vec<u64> = said
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let [mark, stack, program, program_end] = numbers[..] else {
        panic!("the traced program said: {said}");
    };
    Places {
        mark,
        stack,
        program,
        program_end,
    }
}

/// The calls of a trace, each from one mark to the next.
fn read(mut trace: impl BufRead, places: &OnceLock<Places>) -> Vec<Touched> {
    let mut calls = Vec::new();
    let mut call: Option<Touched> = None;
    let mut instruction = 0;
    let mut line = Vec::new();
    while trace.read_until(b'\n', &mut line).unwrap() > 0 {
        let access = places.get().zip(Access::read(&line));
        line.clear();
        let Some((places, access)) = access else {
            continue;
        };
        if access.kind == b'I' {
            instruction = access.start;
            if instruction == places.mark {
                call = match call {
                    None => Some(Touched::default()),
                    Some(ended) => {
                        calls.push(ended);
                        None
                    }
                };
            }
        }
        if let Some(call) = &mut call {
            call.add(access, instruction, places);
        }
    }
    calls
}

/// One line of a trace: `I  0401ab70,3`, and alike ` L`, ` S`, ` M` for what is loaded, stored and
/// modified.
#[derive(Clone, Copy)]
struct Access {
    kind: u8,
    start: u64,
    bytes: u64,
}

impl Access {
    fn read(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?.trim();
        let (kind, place) = line.split_once(' ')?;
        let (start, bytes) = place.trim_start().split_once(',')?;
        let [kind @ (b'I' | b'L' | b'S' | b'M')] = *kind.as_bytes() else {
            return None;
        };
        Some(Self {
            kind,
            start: u64::from_str_radix(start, 16).ok()?,
            bytes: bytes.parse().ok()?,
        })
    }
}

impl Touched {
    fn add(&mut self, access: Access, instruction: u64, places: &Places) {
        for step in access.start / STEP..=(access.start + access.bytes - 1) / STEP {
            let start = step * STEP;
            if access.kind == b'I' {
                self.code.insert(start / LINE);
            } else if start.abs_diff(places.stack) < STACK {
                self.stack.insert(start / LINE);
            } else {
                let touch = self.data.entry(step).or_insert(Touch {
                    is_written: false,
                    first_by: instruction,
                });
                touch.is_written |= access.kind != b'L';
            }
        }
    }

    /// The lines that these steps of data are in, wherever allocations begin: the mean of the four
    /// ways to lay lines over steps.
    pub(crate) fn lines(&self, wanted: impl Fn(u64, &Touch) -> bool) -> u64 {
        const WAYS: u64 = LINE / STEP;
        let ways = (0..WAYS).map(|way| {
            let steps = self
                .data
                .iter()
                .filter(|(step, touch)| wanted(*step * STEP, touch));
            let lines: BTreeSet<u64> = steps.map(|(step, _)| (step + way) / WAYS).collect();
            lines.len() as u64
        });
        (ways.sum::<u64>() + WAYS / 2) / WAYS
    }
}

impl Places {
    /// Whether the program itself has what is there: its constants, and where its functions are.
    pub(crate) fn is_static(&self, address: u64) -> bool {
        (self.program..self.program_end).contains(&address)
    }

    /// Prints the data, line by line as it lies, with who touches each first, the innermost function
    /// first.
    pub(crate) fn show(&self, touched: &Touched) {
        let mut lines: BTreeMap<u64, Touch> = BTreeMap::new();
        for (step, touch) in &touched.data {
            let line = lines.entry(step * STEP / LINE).or_insert(*touch);
            line.is_written |= touch.is_written;
        }
        for (line, touch) in lines {
            let how = if touch.is_written { "written" } else { "read" };
            let who = self.functions_at(touch.first_by);
            println!("{:>12x}  {how:<8} {who}", line * LINE);
        }
    }

    fn functions_at(&self, instruction: u64) -> String {
        let in_program = format!("{:x}", instruction.wrapping_sub(self.program));
        let output = Command::new("addr2line")
            .args(["--inlines", "--functions", "--demangle", "--exe"])
            .arg(env::current_exe().unwrap())
            .arg(in_program)
            .output()
            .expect("addr2line runs: is it installed?");
        let text = String::from_utf8_lossy(&output.stdout);
        // Every second line says where the function of the line before is written.
        let functions: Vec<&str> = text.lines().step_by(2).take(4).collect();
        match functions[..] {
            [] | ["??", ..] => "the allocator, or another library of the system".to_owned(),
            _ => functions.join(" < "),
        }
    }
}
