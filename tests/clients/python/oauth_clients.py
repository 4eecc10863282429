"""requests-oauthlib and Authlib, as their users write them, against a running tollgate in front of the sample API.

Each case gets a token, adds a player with it and removes the player again. Prints one line for each case that kept its
promise; the first that does not ends the run with an error.
"""

import os
import sys

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http, on loopback
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient
from oauthlib.oauth2.rfc6749.errors import InvalidClientError, InvalidScopeError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

GATEWAY = os.environ["GATEWAY"]
TOKEN_URL = GATEWAY + "/auth/token"
CLIENT_ID = os.environ["CLIENT_ID"]
CLIENT_SECRET = os.environ["CLIENT_SECRET"]
SCOPE = os.environ["CLIENT_SCOPE"]
WRONG_SECRET = os.environ["WRONG_SECRET"]
PATIENCE = 20  # seconds


def check(what, seen, wanted):
    if seen != wanted:
        sys.exit(f"{what}: {seen!r} instead of {wanted!r}")


def use(session, token):
    """The token is a whole answer, and good for what needs one."""
    check("token_type", token["token_type"], "Bearer")
    check("expires_in", token["expires_in"], 3600)
    check("scope", "".join(token["scope"]), SCOPE)
    player = {"firstName": "Giovani", "lastName": "Lo Celso"}
    added = session.post(GATEWAY + "/players", json=player, timeout=PATIENCE)
    check("POST with the token", added.status_code, 201)
    removed = session.delete(GATEWAY + added.headers["Location"], timeout=PATIENCE)
    check("DELETE with the token", removed.status_code, 204)


def requests_oauthlib_session(scope=None):
    return OAuth2Session(client=BackendApplicationClient(client_id=CLIENT_ID, scope=scope))


def requests_oauthlib_basic():
    session = requests_oauthlib_session()
    auth = HTTPBasicAuth(CLIENT_ID, CLIENT_SECRET)  # raw, as requests does it
    use(session, session.fetch_token(TOKEN_URL, auth=auth, timeout=PATIENCE))


def requests_oauthlib_form():
    session = requests_oauthlib_session(scope=[SCOPE])
    use(
        session,
        session.fetch_token(
            TOKEN_URL,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            include_client_id=True,
            timeout=PATIENCE,
        ),
    )


def requests_oauthlib_understands_a_wrong_secret():
    session = requests_oauthlib_session()
    try:
        session.fetch_token(TOKEN_URL, auth=HTTPBasicAuth(CLIENT_ID, WRONG_SECRET), timeout=PATIENCE)
    except InvalidClientError:
        return
    sys.exit("a wrong secret got a token")


def requests_oauthlib_understands_a_scope_it_may_not_have():
    session = requests_oauthlib_session(scope=["everything"])
    auth = HTTPBasicAuth(CLIENT_ID, CLIENT_SECRET)
    try:
        session.fetch_token(TOKEN_URL, auth=auth, timeout=PATIENCE)
    except InvalidScopeError:
        return
    sys.exit("a scope that the client may not have was granted")


def authlib_session(method, secret=CLIENT_SECRET):
    return AuthlibSession(
        CLIENT_ID,
        secret,
        scope=SCOPE,
        token_endpoint_auth_method=method,
        default_timeout=PATIENCE,
    )


def authlib_basic():
    session = authlib_session("client_secret_basic")
    use(session, session.fetch_token(TOKEN_URL, grant_type="client_credentials"))


def authlib_form():
    session = authlib_session("client_secret_post")
    use(session, session.fetch_token(TOKEN_URL, grant_type="client_credentials"))


def authlib_understands_a_wrong_secret():
    for method in ["client_secret_basic", "client_secret_post"]:
        try:
            authlib_session(method, WRONG_SECRET).fetch_token(TOKEN_URL, grant_type="client_credentials")
        except OAuthError as error:
            check("Authlib's error", error.error, "invalid_client")
        else:
            sys.exit("a wrong secret got a token")


def plain_json():
    """The body of the founding issue's own curl line."""
    body = {"grant_type": "client_credentials", "client_id": CLIENT_ID}
    answer = requests.post(TOKEN_URL, json=body | {"client_secret": CLIENT_SECRET}, timeout=PATIENCE)
    check("JSON", answer.status_code, 200)
    session = requests.Session()
    session.headers["Authorization"] = "Bearer " + answer.json()["access_token"]
    use(session, answer.json())
    answer = requests.post(TOKEN_URL, json=body | {"client_secret": WRONG_SECRET}, timeout=PATIENCE)
    check("JSON with a wrong secret", answer.status_code, 401)
    check("its error", answer.json()["error"], "invalid_client")


def nothing_changes_without_a_token():
    for method, path in [("POST", "/players"), ("PUT", "/players/10"), ("DELETE", "/players/10")]:
        answer = requests.request(method, GATEWAY + path, json={}, timeout=PATIENCE)
        check(f"{method} without a token", answer.status_code, 401)
    check("GET without a token", requests.get(GATEWAY + "/players/10", timeout=PATIENCE).status_code, 200)


CASES = [
    requests_oauthlib_basic,
    requests_oauthlib_form,
    requests_oauthlib_understands_a_wrong_secret,
    requests_oauthlib_understands_a_scope_it_may_not_have,
    authlib_basic,
    authlib_form,
    authlib_understands_a_wrong_secret,
    plain_json,
    nothing_changes_without_a_token,
]

for case in CASES:
    case()
    print("ok", case.__name__.replace("_", " "), flush=True)
print(len(CASES), "passed, 0 failed")
