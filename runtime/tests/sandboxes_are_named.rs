//! The errors of lending the process if the system keeps memory or its map away, each by its name.
//!
//! A sandbox cannot be left again, so each is a process of its own: this test binary again, with
//! only the test `sandboxed` selected.
//!
//! # Safety
//!
//! System calls are made by number with the structures that the kernel's headers give them. A child
//! process makes only such calls before it executes. Kernels made at run time are valid because a
//! compiler made them, and touch memory of the tests alone.
#![allow(unsafe_code, reason = "sandboxes, and lending the process")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;
#[path = "common/pager.rs"]
mod pager;
#[path = "common/walker.rs"]
mod walker;

use farptr::{
    Error, Fault, FaultReason, Grid, LaunchError, LaunchOptions, LendError, RawKernel, Runtime,
};
use farptr_hmm::{Maps, VaRange, Vma};
use memmap2::MmapMut;
use pager::Pager;
use std::{io, os::unix::process::CommandExt, process::Command};
use walker::walker;

const PAGE: usize = 4096;
/// Set in a process that is in a sandbox: which one.
const SANDBOX: &str = "FARPTR_TEST_SANDBOX";

/// Walks a list of one item, after something else.
fn walk(
    runtime: &Runtime,
    kernel: &RawKernel,
    head: u64,
    then: impl FnOnce(),
) -> Result<(), Error> {
    let mut push = head.to_le_bytes().to_vec();
    push.extend(1u32.to_le_bytes());
    push.resize(kernel.push_bytes(), 0);
    runtime.scope(|s| {
        // SAFETY: the item is the test's own, or there is none.
        unsafe { s.lend_process() }?;
        then();
        // Running again and again would be no answer.
        s.launch_raw(kernel, Grid::cover(1), &push, &LaunchOptions::new().max_rounds(20))?;
        Ok(())
    })
}

fn fault(result: Result<(), Error>) -> Fault {
    match result {
        Err(Error::Launch(LaunchError::Fault(fault))) => *fault,
        other => panic!("no fault: {other:?}"),
    }
}

/// Has a system call of this thread return an error from now on.
fn refuse(call: libc::c_long, errno: i32) {
    let code = |code: u32| u16::try_from(code).unwrap();
    let returns = |what: u32| libc::sock_filter {
        code: code(libc::BPF_RET | libc::BPF_K),
        jt: 0,
        jf: 0,
        k: what,
    };
    let number = u32::try_from(call).unwrap();
    let mut program = [
        // The number of the call is the first word.
        libc::sock_filter {
            code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS),
            jt: 0,
            jf: 0,
            k: 0,
        },
        libc::sock_filter {
            code: code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            jt: 0,
            jf: 1,
            k: number,
        },
        returns(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        returns(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: takes numbers alone.
    let fixed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the kernel copies the program, whose four instructions are live.
    let set =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!((fixed, set), (0, 0), "{}", io::Error::last_os_error());
}

/// Puts an empty file system over `/proc`, in a mount namespace of its own.
fn hide_proc(flags: libc::c_int) -> io::Result<()> {
    let done = |result: libc::c_int| {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: takes a number alone.
    done(unsafe { libc::unshare(flags) })?;
    let (null, private) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
    // SAFETY: the strings are live, and the others may be null.
    done(unsafe { libc::mount(null, c"/".as_ptr(), null, private, null.cast()) })?;
    let (kind, place) = (c"tmpfs".as_ptr(), c"/proc".as_ptr());
    // SAFETY: as above.
    done(unsafe { libc::mount(kind, place, kind, 0, null.cast()) })
}

/// Runs a sandbox, and returns whether it could be set up.
fn run(sandbox: &str, namespaces: Option<libc::c_int>) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "sandboxed", "--nocapture", "--test-threads=1"]);
    command.env(SANDBOX, sandbox);
    if let Some(flags) = namespaces {
        // SAFETY: between fork and execution there are system calls alone.
        unsafe { command.pre_exec(move || hide_proc(flags)) };
    }
    match command.output() {
        Err(error) if namespaces.is_some() => {
            common::skip(&format!("{sandbox}: no namespaces: {error}"));
            false
        }
        ended => {
            let ended = ended.unwrap();
            let text = String::from_utf8_lossy(&ended.stdout);
            assert!(ended.status.success(), "{sandbox}: {text}");
            true
        }
    }
}

/// Not a test of its own: what happens in a sandbox.
#[test]
fn sandboxed() {
    let Ok(sandbox) = std::env::var(SANDBOX) else { return };
    let (runtime, kernel) = walker().expect("there was a device outside of the sandbox");
    let item = [0u64; 2];
    let head = item.as_ptr().expose_provenance() as u64;
    let walk = |then: &dyn Fn()| walk(&runtime, &kernel, head, then);
    let (reads, writes) = (libc::SYS_process_vm_readv, libc::SYS_process_vm_writev);
    match sandbox.as_str() {
        "no proc" => {
            let ended = walk(&|| panic!("it was lent"));
            assert!(matches!(ended, Err(Error::Lend(LendError::NoMaps { .. }))), "{ended:?}");
            assert!(ended.unwrap_err().to_string().contains("/proc"));
        }
        "lends without proc" => {
            let mut y = [4.0f32; 100];
            let kernel = runtime.kernel::<farptr::shaders::affine::Kernel>().unwrap();
            runtime
                .scope(|s| {
                    let y = s.lend_mut(&mut y)?.ptr();
                    let args = farptr::shaders::affine::Args { y, n: 100, a: 1.0, c: 1.0 };
                    Ok(s.launch(&kernel, Grid::cover(100), args)?)
                })
                .unwrap();
            assert_eq!(y, [5.0; 100]);
        }
        "no reads" | "reads unknown" | "no writes" => {
            let (call, errno, name) = match sandbox.as_str() {
                "no reads" => (reads, libc::EPERM, "process_vm_readv"),
                "reads unknown" => (reads, libc::ENOSYS, "process_vm_readv"),
                _ => (writes, libc::EPERM, "process_vm_writev"),
            };
            refuse(call, errno);
            let ended = walk(&|| panic!("it was lent"));
            let Err(Error::Lend(LendError::Refused { call, ref source })) = ended else {
                panic!("{ended:?}")
            };
            assert_eq!((call, source.raw_os_error()), (name, Some(errno)));
        }
        "reads refused later" => {
            let fault = fault(walk(&|| refuse(reads, libc::EPERM)));
            assert_eq!((fault.reason, fault.address & !15), (FaultReason::Refused, head & !15));
        }
        "writes refused later" => {
            let ended = walk(&|| refuse(writes, libc::EPERM));
            let Err(Error::Launch(LaunchError::Unwritable { reason, address, .. })) = ended else {
                panic!("{ended:?}")
            };
            assert_eq!((reason, address), (FaultReason::Refused, head + 8));
        }
        "map refused later" => {
            // Both ways to look an area up end with this.
            let fault = fault(walk(&|| {
                refuse(libc::SYS_ioctl, libc::EPERM);
                refuse(libc::SYS_openat, libc::EPERM);
            }));
            assert_eq!(fault.reason, FaultReason::NoMaps, "{fault}");
        }
        other => panic!("no sandbox {other}"),
    }
    assert_eq!(item, [0; 2]);
}

#[test]
fn without_proc_the_process_is_not_lent_and_slices_are() {
    let Some(_) = walker() else { return };
    let (mounts, users) = (libc::CLONE_NEWNS, libc::CLONE_NEWUSER);
    // SAFETY: asks for a number.
    let root = unsafe { libc::geteuid() } == 0;
    for sandbox in ["no proc", "lends without proc"] {
        if root {
            run(sandbox, Some(mounts));
        }
        if !run(sandbox, Some(mounts | users)) {
            return;
        }
    }
}

#[test]
fn refused_system_calls_are_named_when_the_process_is_lent() {
    let Some(_) = walker() else { return };
    for sandbox in ["no reads", "reads unknown", "no writes"] {
        run(sandbox, None);
    }
}

#[test]
fn system_calls_that_are_refused_during_a_scope_are_named_by_the_launch() {
    let Some(_) = walker() else { return };
    for sandbox in ["reads refused later", "writes refused later", "map refused later"] {
        run(sandbox, None);
    }
}

fn start(memory: &[u8]) -> u64 {
    VaRange::of_slice(memory).start().get()
}

#[test]
fn pages_of_a_userfaultfd_for_user_mode_are_named() {
    let Some((runtime, kernel)) = walker() else { return };
    let memory = MmapMut::map_anon(2 * PAGE).unwrap();
    let head = start(&memory);
    let pager = Pager::start(head..head + PAGE as u64, PAGE, |_| vec![0; PAGE]);
    let pager = match pager {
        Ok(pager) => pager,
        Err(error) => return common::skip(&format!("userfaultfd: {error}")),
    };
    let missing = fault(walk(&runtime, &kernel, head + 64, || ()));
    assert_eq!((missing.reason, missing.address), (FaultReason::Userfaultfd, head + 72));
    assert!(missing.to_string().contains("userfaultfd"), "{missing}");
    // Once it is there, it is memory like any other.
    assert_eq!(memory[64], 0);
    walk(&runtime, &kernel, head + 64, || ()).unwrap();
    assert_eq!(memory[72], 1);
    assert_eq!(pager.stop(), 1);
}

#[test]
fn pages_that_a_userfaultfd_protects_from_writes_are_named() {
    let Some((runtime, kernel)) = walker() else { return };
    let mut memory = MmapMut::map_anon(PAGE).unwrap();
    memory[0] = 0;
    let head = start(&memory);
    let watch = match pager::write_protect(head..head + PAGE as u64) {
        Ok(watch) => watch,
        Err(error) => return common::skip(&format!("userfaultfd: {error}")),
    };
    let ended = walk(&runtime, &kernel, head, || ());
    let Err(Error::Launch(LaunchError::Unwritable { address, reason, .. })) = &ended else {
        panic!("{ended:?}")
    };
    assert_eq!((*address, *reason), (head + 8, FaultReason::Userfaultfd));
    assert!(ended.unwrap_err().to_string().contains("userfaultfd"));
    drop(watch);
    assert_eq!(memory[8], 0);
    walk(&runtime, &kernel, head, || ()).unwrap();
    assert_eq!(memory[8], 1);
}

#[test]
fn the_page_of_the_clock_is_named() {
    let Some((runtime, _)) = walker() else { return };
    let is_vvar = |area: &Vma| area.name.as_deref().is_some_and(|name| name == "[vvar]");
    let areas = Maps::open().unwrap().vmas(VaRange::USER).unwrap();
    let Some(vvar) = areas.into_iter().find(is_vvar) else {
        return common::skip("this architecture has no [vvar]");
    };
    let source = "layout(local_size_x = 1) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x; uvec2 y; };
        void main() { U(y).at[0] = U(x).at[0]; }";
    let words = glsl::glsl("peek", source, glsl::Level::Performance);
    // SAFETY: shaderc's output is a valid module.
    let kernel = unsafe { runtime.raw_kernel("peek", &words) }.unwrap();
    let mut y = [0u32];
    let ended = runtime.scope(|s| {
        let y = s.lend_mut(&mut y)?.ptr().address();
        // SAFETY: the kernel reads one word.
        unsafe { s.lend_process() }?;
        let push = [vvar.range.start().get(), y];
        let push = bytemuck::cast_slice(&push);
        Ok(s.launch_raw(&kernel, Grid::groups(1, 1, 1), push, &LaunchOptions::new())?)
    });
    let fault = fault(ended);
    assert_eq!(fault.reason, FaultReason::Vvar, "{fault}");
    assert!(fault.to_string().contains("[vvar]"), "{fault}");
}
