//! What the kernel says of processes and cores, and where it lets us run.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::process::{
    Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{Result, While as _};

/// The priority of everything that is measured, where we may have it: neighbours then take the core away less often.
const NICE: i32 = -15;
const TICKS_A_SECOND: f64 = 100.0;
const PAGE: u64 = 4096;

/// The cores that we may run on.
pub fn cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).during("the cores of this machine")?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Holds this thread, and what it starts from now on, to these cores.
pub fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).during(format_args!("core {cores:?}"))
}

/// Precedence over neighbours for this thread and what it starts, until this is dropped.
pub struct Precedence {
    priority: i32,
    session: Option<String>,
}

impl Precedence {
    /// If we may. Where sessions are scheduled as groups, nice counts between groups.
    pub fn take() -> Option<Self> {
        let priority = getpriority_process(None).ok()?;
        setpriority_process(None, NICE).ok()?;
        let session = fs::read_to_string("/proc/self/autogroup").ok();
        let session = session.and_then(|text| Some(text.trim().rsplit_once(' ')?.1.to_owned()));
        precedence_of_session("self");
        Some(Self { priority, session })
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        let _ = setpriority_process(None, self.priority);
        if let Some(nice) = &self.session {
            let _ = fs::write("/proc/self/autogroup", nice);
        }
    }
}

/// Gives the session that a process leads what this thread has.
pub fn share_precedence(process: u32) {
    if getpriority_process(None).is_ok_and(|priority| priority == NICE) {
        precedence_of_session(&process.to_string());
    }
}

fn precedence_of_session(process: &str) {
    let _ = fs::write(format!("/proc/{process}/autogroup"), NICE.to_string());
}

/// Raises our limit of open files, and that of what we start. Yields what it is now.
pub fn raise_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX).max(wanted);
    for maximum in [maximum, limit.maximum.unwrap_or(maximum)] {
        let raised = Rlimit { current: Some(wanted.min(maximum)), maximum: Some(maximum) };
        if limit.current.is_some_and(|now| now < wanted)
            && setrlimit(Resource::Nofile, raised).is_ok()
        {
            break;
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A process and all below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(parent) = parent(process) {
            below.entry(parent).or_default().push(process);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(process) = next.pop() {
        found.push(process);
        next.extend(below.remove(&process).unwrap_or_default());
    }
    found
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, blanks and brackets included.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// How long all threads of these processes have been on a core, by the scheduler's own account.
pub fn cpu_time(processes: &[u32]) -> Duration {
    let tasks = |process: &u32| fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let nanoseconds = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
    };
    let every = processes.iter().flat_map(tasks).flatten();
    let sum = every.filter_map(|task| nanoseconds(task.path().join("schedstat"))).sum();
    Duration::from_nanos(sum)
}

/// How long one thread of ours has been on a core.
pub fn cpu_time_of_thread(thread: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"));
    let first = text.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// Bytes of memory that these processes hold, what they share counted for each.
pub fn resident(processes: &[u32]) -> u64 {
    let pages = |process: &u32| -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
        statm.split_whitespace().nth(1)?.parse().ok()
    };
    processes.iter().filter_map(pages).sum::<u64>() * PAGE
}

/// Seconds since boot in which this core had work.
pub fn busy(core: usize) -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cpu{core} ")));
    let ticks: Vec<f64> = line
        .map(|line| line.split_whitespace().filter_map(|cell| cell.parse().ok()).collect())
        .unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq
    [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum::<f64>() / TICKS_A_SECOND
}

/// Processor and kernel, for whoever reads the figures.
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |found| found.1);
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{count} cores of {model}, Linux {}", kernel.trim())
}
