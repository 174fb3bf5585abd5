//! Says that Brotli is not supported: the real one carries a dictionary of
//! 120 kB, and the PDF streams that need it are in no published standard.

use std::io::{Error, ErrorKind, Read, Result};
use std::marker::PhantomData;

/// A reader that always fails.
#[derive(Debug)]
pub struct Decompressor<R>(PhantomData<R>);

impl<R: Read> Decompressor<R> {
    pub fn new(_input: R, _buffer: usize) -> Self {
        Self(PhantomData)
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, _: &mut [u8]) -> Result<usize> {
        Err(Error::new(ErrorKind::Unsupported, "Brotli is not supported"))
    }
}
