//! The `lifeboat` command. Everything is in the library.

/// One arena, as `.cargo/config.toml` sets it: memory goes between threads all the time here, and an allocator that keeps
/// an arena for each of them grows with the machine and with the length of a backup.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    lifeboat::run(&std::env::args_os().collect::<Vec<_>>())
}
