"""What time does to the world, block by block."""

from decimal import Decimal

from tests.support.console.fitting import can_bid
from tests.support.console.states import Bid, Deployment, Host, Lease

BID_LIFE = 50  # 5 minutes
MANIFEST_PATIENCE = 50
ORDER_LIFE = 100  # 10 minutes: the Console closes what nobody leased


class Clocks:
    """The part of the world that moves with the clock."""

    balance: Decimal
    height: int
    hosts: dict[str, Host]
    deployments: dict[str, Deployment]
    activities: dict[str, str]
    crashing: set[str]

    def advance(self, blocks: int = 1) -> None:
        """Let that many blocks of 6 s go by."""
        for _ in range(blocks):
            self.height += 1
            for deployment in list(self.deployments.values()):
                if deployment.is_active:
                    self._tick(deployment)

    def lose_lease(self, dseq: str, reason: str = "lease_closed_reason_unstable") -> None:
        """A host gives up: its leases of the deployment end, the deployment stays."""
        deployment = self.deployments[dseq]
        for lease in deployment.active_leases:
            lease.close(self.height, reason)
        deployment.purse.settle(self.height)

    def end(self, deployment: Deployment, reason: str) -> None:
        """Close it: leases end, what is left in the purse goes back to the balance."""
        if not deployment.is_active:
            return
        for lease in deployment.active_leases:
            lease.close(self.height, reason)
        for bid in deployment.bids:
            bid.state = "closed" if bid.state == "open" else bid.state
        self.balance += deployment.purse.funds
        deployment.purse.funds = Decimal(0)
        deployment.purse.state = deployment.state = "closed"
        deployment.purse.settle(self.height)

    def _tick(self, deployment: Deployment) -> None:
        self._bill(deployment)
        if deployment.is_active and deployment.dseq in self.activities.values():
            self.end(deployment, "lease_closed_owner")
        if not deployment.is_active:
            return
        age = self.height - deployment.height
        has_run_out = deployment.ends_at is not None and self.height >= deployment.ends_at
        if has_run_out or (not deployment.leases and age >= ORDER_LIFE):
            self.end(deployment, "lease_closed_owner")
            return
        self._bid(deployment, age)
        self._lose_patience(deployment)

    def _bill(self, deployment: Deployment) -> None:
        """One block of every active lease; an empty purse ends them all."""
        purse = deployment.purse
        due = min(deployment.price, purse.funds)
        purse.funds -= due
        purse.paid += due
        if deployment.active_leases and not purse.funds:
            for lease in deployment.active_leases:
                reason = "lease_closed_reason_insufficient_funds"
                lease.close(self.height, reason, "insufficient_funds")
            deployment.state, purse.state = "closed", "overdrawn"
            purse.settle(self.height)

    def _bid(self, deployment: Deployment, age: int) -> None:
        for bid in deployment.bids:
            if bid.state == "open" and self.height - bid.height >= BID_LIFE:
                bid.state = "closed"
        if deployment.leases:
            return
        for host in self.hosts.values():
            for group in deployment.groups:
                if age == host.bids_after and can_bid(host, group):
                    deployment.bids.append(Bid(host.address, group.gseq, host.price, self.height))

    def _lose_patience(self, deployment: Deployment) -> None:
        for lease in deployment.active_leases:
            if lease.manifest_at is None and self.height - lease.height >= MANIFEST_PATIENCE:
                lease.close(self.height, "lease_closed_reason_manifest_timeout")

    def is_available(self, lease: Lease) -> bool:
        """Whether the containers of a lease run."""
        if lease.provider in self.crashing:
            return False
        ready_after = self.hosts[lease.provider].available_after
        return lease.manifest_at is not None and self.height >= lease.manifest_at + ready_after
