//! What the standard library has no safe interface for: cores, epoll, buffers, limits, signals.
#![allow(unsafe_code, reason = "system calls that are in no safe interface")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::Duration;

use socket2::SockRef;

/// Receive and send buffer of a socket that many calls share. A burst must wait while this thread is busy.
const KERNEL_BUFFER: usize = 4 << 20;

/// Open files that 4,800 calls a second take: four sockets a call for as long as it and its ports' rest last.
const OPEN_FILES: libc::rlim_t = 65_536;

/// Events of one wait.
const BATCH: usize = 64;

/// The cores that this process may run on, in order. Empty when the system does not say.
pub(crate) fn cores() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is an empty set; the call writes no more than the length that it is told.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        if libc::sched_getaffinity(0, mem::size_of_val(&set), &raw mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
    }
}

/// Keeps the calling thread, and threads and processes that it starts from now on, on one core. Allocates nothing: it runs
/// between `fork` and `exec`, too.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: an all-zero cpu_set_t is an empty set, the core is within it, and the call only reads it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set)
    };
    done(result)
}

/// Makes a command's process run on one core and die with the thread that starts it, however that ends.
pub(crate) fn tie(command: &mut Command, core: Option<usize>) {
    // SAFETY: the closure makes two system calls and neither allocates nor locks.
    unsafe {
        command.pre_exec(move || {
            done(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            core.map_or(Ok(()), pin)
        });
    }
}

/// Asks a process of ours to end in good order.
pub(crate) fn terminate(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: takes no pointer. The process is our child and has not been waited for, so the number is still its own.
    done(unsafe { libc::kill(pid, libc::SIGTERM) })
}

/// As many open files as calls need, for this process and those that it starts: beyond the system's limit where we may
/// (CAP_SYS_RESOURCE), else up to it. Says how many it has become.
pub(crate) fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives until the call returns, which writes it.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    let set = |most| {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the limit lives until the call returns, which only reads it.
        done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(|()| most)
    };
    set(limit.rlim_max.max(OPEN_FILES)).or_else(|_| set(limit.rlim_max))
}

/// Gives a socket room for a burst, beyond the system's limit where we may (CAP_NET_ADMIN).
pub(crate) fn widen(socket: SockRef<'_>) -> io::Result<()> {
    force(&socket, libc::SO_RCVBUFFORCE).or_else(|_| socket.set_recv_buffer_size(KERNEL_BUFFER))?;
    force(&socket, libc::SO_SNDBUFFORCE).or_else(|_| socket.set_send_buffer_size(KERNEL_BUFFER))
}

fn force(socket: &SockRef<'_>, option: libc::c_int) -> io::Result<()> {
    let size = KERNEL_BUFFER as libc::c_int;
    // SAFETY: the value is an int that lives until the call returns, and its length is told.
    done(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_ref(&size).cast(),
            mem::size_of_val(&size) as libc::socklen_t,
        )
    })
}

/// A set of sockets to wait on, level-triggered: one `recv` a packet, as the relay itself does it.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        done(fd)?;
        // SAFETY: the descriptor is open and nobody else's.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Tells `token` whenever `socket` is readable.
    pub(crate) fn add(&self, socket: BorrowedFd<'_>, token: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token as u64 };
        // SAFETY: the event lives until the call returns; both descriptors are open.
        done(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) })
    }

    /// Waits for sockets, no longer than `wait` (rounded up to a millisecond), and puts their tokens into `tokens`.
    pub(crate) fn wait(&self, wait: Duration, tokens: &mut Vec<usize>) -> io::Result<()> {
        let milliseconds = wait.as_micros().div_ceil(1000).min(1000) as libc::c_int;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        // SAFETY: the array lives until the call returns, and its length is told.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), BATCH as libc::c_int, milliseconds) };
        tokens.clear();
        match usize::try_from(count) {
            Ok(count) => tokens.extend(events.iter().take(count).map(|event| event.u64 as usize)),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
