//! Reading fixed and counted fields off the front of a slice. Each function either takes the whole field or
//! returns `None` and leaves the slice as it was.

/// The next `count` octets.
#[inline]
pub(crate) fn take<'a>(input: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(count)?;
    *input = rest;
    Some(head)
}

#[inline]
pub(crate) fn array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

#[inline]
pub(crate) fn u8(input: &mut &[u8]) -> Option<u8> {
    array::<1>(input).map(|[octet]| octet)
}

#[inline]
pub(crate) fn u16(input: &mut &[u8]) -> Option<u16> {
    array(input).map(u16::from_be_bytes)
}

#[inline]
pub(crate) fn u64(input: &mut &[u8]) -> Option<u64> {
    array(input).map(u64::from_be_bytes)
}

/// A short string: one length octet and that many octets, any octets.
#[inline]
pub(crate) fn short_string<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&length, rest) = input.split_first()?;
    let (string, rest) = rest.split_at_checked(usize::from(length))?;
    *input = rest;
    Some(string)
}

/// A long string: four length octets and that many octets.
#[inline]
pub(crate) fn long_string<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_first_chunk::<4>()?;
    let (string, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *input = rest;
    Some(string)
}
