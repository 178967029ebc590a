//! `farptr doctor`: tries what farptr needs of a device, each thing in a process of its own, and
//! says what came of it. `bench/README.md` has the arguments, the exit codes and the fields.

fn main() -> std::process::ExitCode {
    farptr_bench::doctor::main()
}
