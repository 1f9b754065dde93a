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
