//! Request × policy × principal: step 6 of the walk. The only place that makes a [`Permitted`].

use std::rc::Rc;

use http::{HeaderName, HeaderValue};

use super::policy::{Params, Policy, Requirement};
use super::{Authentication, Caller, Denied};
use crate::message::{Destination, Request};

/// A request that policy let through. Made only by [`authorize`]; the only thing that `forward` accepts.
#[must_use = "a permitted request that is dropped was allowed and never sent"]
#[derive(Debug)]
pub struct Permitted(Passage);

/// What a [`Permitted`] holds.
#[derive(Debug)]
pub struct Passage {
    /// The very request that was judged.
    pub request: Box<Request>,
    /// Whom its token speaks for, if it bore a valid one.
    pub caller: Option<Rc<Caller>>,
    /// Whether it must stay the method that it is: no token was needed, or the method decided which policy it met.
    pub fixed_method: bool,
    /// Whether `Authorization` holds a token that is not valid, which nobody behind may take for one that is.
    pub withhold_authorization: bool,
    /// Where it goes on to.
    pub destination: Destination,
    identity_set: usize,
    reported: Option<Denied>,
}

/// What a request is asked for, by the policy that it met.
pub struct Demand<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The parameters of its path.
    pub params: &'a dyn Params,
    /// Which set of identity headers tells the upstream of the caller.
    pub identity_set: usize,
    /// Whether the method had a say in which policy it is.
    pub by_method: bool,
    /// Seconds since 1970.
    pub now: u64,
    /// Where the request goes on to, if it may.
    pub destination: Destination,
}

impl Permitted {
    /// Whom the request's token speaks for.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.as_deref()
    }

    /// Why it would have been refused, had the policy not been in report mode.
    #[must_use]
    pub const fn reported(&self) -> Option<Denied> {
        self.0.reported
    }

    /// What was let through, to be sent.
    pub fn into_passage(self) -> Passage {
        self.0
    }

    /// What was let through.
    #[must_use]
    pub const fn passage(&self) -> &Passage {
        &self.0
    }
}

impl Passage {
    /// The headers that tell the upstream of the caller.
    #[must_use]
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        match &self.caller {
            Some(caller) => caller.identity(self.identity_set).unwrap_or_default(),
            None => &[],
        }
    }
}

/// Lets a request through, or says why not. An open request passes with or without a token; in report mode every
/// request does. `passed` hears of each requirement that is met.
///
/// # Errors
/// Why the caller of a guarded request is not let through.
pub fn authorize(
    request: Box<Request>,
    demand: Demand<'_>,
    authentication: Result<Authentication, Denied>,
    passed: &mut dyn FnMut(Requirement),
) -> Result<Permitted, Denied> {
    let policy = demand.policy;
    let guarded = policy.guards(&request);
    let (caller, verdict, withhold_authorization) = match authentication {
        // for every request anew, whatever was remembered of the token: the certificate is the connection's
        Ok(Authentication::Caller(caller)) if !is_held_by(&caller, &request) => {
            (None, Err(Denied::Bound), true)
        }
        Ok(Authentication::Caller(caller)) => match caller.identity(demand.identity_set) {
            Ok(_) => (Some(caller), Ok(()), false),
            Err(denied) => (None, Err(denied), true),
        },
        Ok(Authentication::Nobody | Authentication::OtherScheme) => {
            (None, Err(Denied::Missing), false)
        }
        Err(denied) => (None, Err(denied), true),
    };
    let refused = match (guarded, verdict, &caller) {
        (false, ..) => None,
        (true, ..) if policy.denies() => Some(Denied::Route),
        (true, Err(denied), _) => Some(denied),
        (true, Ok(()), Some(caller)) => {
            policy.judge(caller, &request, demand.params, demand.now, passed).err()
        }
        (true, Ok(()), None) => Some(Denied::Missing),
    };
    if let Some(denied) = refused
        && !policy.reports()
    {
        return Err(denied);
    }
    Ok(Permitted(Passage {
        request,
        caller,
        fixed_method: !guarded || refused.is_some() || demand.by_method,
        withhold_authorization,
        destination: demand.destination,
        identity_set: demand.identity_set,
        reported: refused,
    }))
}

/// Whether a token that is bound to a certificate comes over a connection on which that was shown (RFC 8705 §3).
fn is_held_by(caller: &Caller, request: &Request) -> bool {
    let Some(bound_to) = &caller.principal.bound_to else { return true };
    let shown = request.peer.certificate.as_deref();
    shown.is_some_and(|shown| shown.certificate().sha256 == *bound_to)
}
