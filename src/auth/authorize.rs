//! Request × policy × principal: step 6 of the walk. The only place that makes a [`Permitted`].

use std::rc::Rc;

use super::{Authentication, Caller, Denied};
use crate::message::Request;

/// A request that policy let through. Made only by [`authorize`]; the only thing that `forward` accepts.
#[must_use = "a permitted request that is dropped was allowed and never sent"]
#[derive(Debug)]
pub struct Permitted(Passage);

/// What a [`Permitted`] holds.
#[derive(Debug)]
pub struct Passage {
    /// The very request that was judged.
    pub request: Request,
    /// Whom its token speaks for, if it bore a valid one.
    pub caller: Option<Rc<Caller>>,
    /// Whether no token was needed.
    pub open: bool,
    /// Whether `Authorization` holds a token that is not valid, which nobody behind may take for one that is.
    pub withhold_authorization: bool,
}

impl Permitted {
    /// Whom the request's token speaks for.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.as_deref()
    }

    /// What was let through, to be sent.
    pub fn into_passage(self) -> Passage {
        self.0
    }
}

/// Lets a request through, or says why not. An open request passes with or without a token.
///
/// # Errors
/// Why the caller of a protected request is not let through.
pub fn authorize(
    request: Request,
    protected: bool,
    authentication: Result<Authentication, Denied>,
) -> Result<Permitted, Denied> {
    let (caller, withhold_authorization) = match authentication {
        Ok(Authentication::Caller(caller)) => (Some(caller), false),
        Ok(Authentication::Nobody | Authentication::OtherScheme) if protected => {
            return Err(Denied::Missing);
        }
        Ok(Authentication::Nobody | Authentication::OtherScheme) => (None, false),
        Err(denied) if protected => return Err(denied),
        Err(_) => (None, true),
    };
    Ok(Permitted(Passage { request, caller, open: !protected, withhold_authorization }))
}
