"""Shell commands about the network and the server: ip, ss, ai-serve, ai-stop."""

from bare import Bytes, u16, u32
from merlion.kernel.config import parse_number
from merlion.kernel.console import console
from merlion.kernel.model import model
from merlion.kernel.network import network, stack
from merlion.kernel.serving import serving
from merlion.kernel.shell.refuse import refuse
from merlion.net.dhcp import DhcpState
from merlion.net.tcp_connection import State

PORT_DEFAULT = 8080
PORT_MAX = 65535
STATE_TEXT = {state: state.name.lower().replace("_", "-").encode() for state in State}


def write_address(address: u32) -> None:
    """Write an IPv4 address."""
    for index in range(4):
        if index > 0:
            console.out.byte(0x2E)
        console.out.unsigned(address >> 24 - 8 * index & 0xFF)


def ip(arguments: Bytes) -> bool:
    """Show the address and the counters."""
    out = console.out
    if network.nic is None:
        return refuse(b"no network device")
    out.text(b"address ")
    write_address(stack.link.address)
    out.text(b"  netmask ")
    write_address(stack.link.netmask)
    out.text(b"  gateway ")
    write_address(stack.link.gateway)
    console.line(b"  (static)" if stack.dhcp.state == DhcpState.OFF else b"  (DHCP)")
    out.text(b"frames in ")
    out.unsigned(stack.counters.frames_in)
    out.text(b", out ")
    out.unsigned(stack.counters.frames_out)
    out.text(b", ignored ")
    out.unsigned(stack.counters.ignored)
    out.text(b", malformed ")
    out.unsigned(stack.counters.malformed)
    console.line(b"")
    return True


def ss(arguments: Bytes) -> bool:
    """List TCP connections."""
    out = console.out
    if serving.port != 0:
        out.text(b"listen       *:")
        out.unsigned(serving.port)
        console.line(b"")
    for connection in stack.tcp.table.connections:
        if connection.state == State.CLOSED:
            continue
        out.text(STATE_TEXT[connection.state])
        out.text(b"  ")
        write_address(connection.address)
        out.byte(0x3A)
        out.unsigned(connection.remote_port)
        console.line(b"")
    return True


def serve(arguments: Bytes) -> bool:
    """Open the API's port; load the model where that is still to do (clients get 503 meanwhile)."""
    port: u16 = PORT_DEFAULT
    if len(arguments) > 0:
        number = parse_number(arguments)
        if number is None or number == 0 or number > PORT_MAX:
            return refuse(b"usage: ai-serve [port]")
        port = u16(number)
    if network.nic is None:
        return refuse(b"no network device")
    if serving.port != 0:
        console.write(b"already served on port ")
        console.out.unsigned(serving.port)
        return refuse(b": ai-stop first")
    if not serving.listen(port):
        return refuse(b"too many ports are open")
    if not model.ready():
        serving.close()
        return False
    console.write(b"serving the OpenAI API on ")
    write_address(stack.link.address)
    console.out.byte(0x3A)
    console.out.unsigned(port)
    console.line(b"")
    return True


def stop(arguments: Bytes) -> bool:
    """Close the API's port."""
    if serving.port == 0:
        return refuse(b"the API is not being served")
    serving.close()
    console.line(b"closed; answers under way are finished")
    return True
