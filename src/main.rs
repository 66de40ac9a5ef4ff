//! The `basalt` binary: command line, then the node.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: basalt::runtime::memory::Counting = basalt::runtime::memory::Counting;

fn main() -> ExitCode {
    basalt::node::main()
}
