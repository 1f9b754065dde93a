"""Orders and hosts to test with."""

from decimal import Decimal

from tests.support.console.states import Host

A100 = "vendor/nvidia/model/a100/ram/80Gi/interface/sxm4"
T4 = "vendor/nvidia/model/t4/ram/16Gi/interface/pcie"

CHEAP = Host(address="akash1cheap", price=Decimal(1000), gpu=A100)
DEAR = Host(address="akash1dear", price=Decimal(1500), gpu=A100, bids_after=3)
TOO_DEAR = Host(address="akash1toodear", price=Decimal(9000), gpu=A100)
LYING = Host(address="akash1lying", price=Decimal(500), gpu=T4, bids_blindly=True)
UNAUDITED = Host(address="akash1unaudited", price=Decimal(1), gpu=A100, is_audited=False)
HOSTS = (CHEAP, DEAR, TOO_DEAR, LYING, UNAUDITED)

A100_PCIE = "vendor/nvidia/model/a100/ram/80Gi/interface/pcie"
RTX4090 = "vendor/nvidia/model/rtx4090/ram/24Gi/interface/pcie"

# A market of hosts that differ in GPUs, how many of them a node has free, place and storage.
ONE_BY_ONE = Host(address="akash1singles", gpu=A100, node_gpus=(1, 1, 1, 1), uptime=0.999)
PAIRS = tuple(
    Host(
        address=f"akash1pairs{number}",
        price=Decimal(1200 + 100 * number),
        gpu=A100_PCIE,
        node_gpus=(2, 1),
        region="us-east",
        uptime=0.95 + number / 100,
    )
    for number in range(4)
)
SMALL = Host(address="akash1small", price=Decimal(300), gpu=RTX4090, node_gpus=(3,))
FORGETFUL = Host(
    address="akash1forgetful", price=Decimal(250), gpu=RTX4090, node_gpus=(4,), storage_classes=()
)
NO_GPU = Host(address="akash1plain", price=Decimal(40), node_gpus=(), region="us-west")
MARKET = (ONE_BY_ONE, *PAIRS, SMALL, FORGETFUL, NO_GPU, UNAUDITED)

SDL = """\
version: "2.0"
services:
  llm:
    image: example.org/test/llm:1
    env: ["MODEL=a"]
    expose:
      - port: 8000
        as: 80
        to: [{global: true}]
      - port: 9000
        to: [{global: true}]
profiles:
  compute:
    llm:
      resources:
        cpu: {units: 4}
        memory: {size: 8Gi}
        storage: {size: 20Gi}
        gpu:
          units: 1
          attributes: {vendor: {nvidia: [{model: a100, ram: 80Gi}]}}
  placement:
    any:
      pricing:
        llm: {denom: uakt, amount: 2000}
deployment:
  llm:
    any: {profile: llm, count: 1}
"""
