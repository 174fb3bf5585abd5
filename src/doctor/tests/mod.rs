//! The doctor on broken hosts: every check fires on its own and is quiet on a
//! healthy host, and repairs change what they say and nothing else.

mod every_check;
mod mutations;
mod repairs;
