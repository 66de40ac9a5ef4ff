use super::*;

pub const COMMANDS: &[Command] = &[];
