//! The one integration binary: a file per behaviour, not per source module.
//! Each test starts what it needs on a free port with a home of its own.
